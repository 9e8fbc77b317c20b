"""Triton's client, where Triton answers and its model does not."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest
from tritonclient.grpc import service_pb2

from raybench.clients.base import ClientError
from raybench.clients.triton_client import TritonClient


@pytest.mark.parametrize(
    ("status", "said", "sentence"),
    [
        ("UNAVAILABLE", "Request for unknown model: 'saved_model' has no available versions", "is not ready"),
        ("NOT_FOUND", "Request for unknown model: 'saved_model' is not found", "this Triton says NOT_FOUND"),
    ],
)
def test_a_model_that_is_not_loaded_is_no_missing_triton(status: str, said: str, sentence: str) -> None:
    """A Triton that is loading a model, or has none, is said to be there: the sentence is about the model."""

    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode[status], said)

    metadata = service_pb2.ServerMetadataResponse(name="triton", version="2.51.0").SerializeToString()
    methods = {
        "ServerMetadata": grpc.unary_unary_rpc_method_handler(lambda *_: metadata),
        "ModelMetadata": grpc.unary_unary_rpc_method_handler(refuse),
    }
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)])
    url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        client = TritonClient(url, model="a", signature="predict_images")
        with closing(client), pytest.raises(ClientError) as error:
            client.describe()
    finally:
        server.stop(None)
    assert sentence in str(error.value)
    assert said in str(error.value)
    assert "no Triton answers" not in str(error.value)
