"""Triton models that compute where a client has put their inputs: on GPU 0."""

from tritonclient.grpc import model_config_pb2

from raybench.clients.device_memory import GPU


def place_beside_inputs(config: model_config_pb2.ModelConfig) -> None:
    """Have all instances on the GPU of the inputs: on a host with several they would be on each."""
    for group in config.instance_group:
        group.kind = model_config_pb2.ModelInstanceGroup.KIND_GPU
        group.gpus[:] = [GPU]
