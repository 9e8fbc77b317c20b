"""Triton's gRPC service (KServe v2), asked with messages, off the clock."""

from typing import Any

from tritonclient.grpc import service_pb2

from raybench.clients.grpc.channel import CallError, Channel

_SERVICE = "/inference.GRPCInferenceService"
INFER = f"{_SERVICE}/ModelInfer"
_UNREADY = ("has no available versions", "is not ready")


def ask(channel: Channel, method: str, **fields: Any) -> Any:
    """The answer to a call such as ModelConfig with the fields of its request; raises CallError."""
    request = getattr(service_pb2, f"{method}Request")(**fields)
    return channel.ask(f"{_SERVICE}/{method}", request, getattr(service_pb2, f"{method}Response"))


def is_unready(error: CallError) -> bool:
    """Whether Triton refused to describe a model that it has, and that is not loaded: by another code in 2.51."""
    return any(sentence in (error.said or "") for sentence in _UNREADY)
