"""Triton's gRPC service (KServe v2), as inference.GRPCInferenceService of grpc_service.proto."""

from typing import Any

from tritonclient.grpc import service_pb2

from raybench.clients.base import Reply
from raybench.clients.grpc.channel import CallError, Channel
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.unary import Send

_SERVICE = "/inference.GRPCInferenceService"


class GrpcService:
    """A TritonService over gRPC."""

    def __init__(self, url: str, credentials: ConnectionCredentials, client: str) -> None:
        self._channel = Channel(url, credentials, client)
        self._infer = self._channel.method(f"{_SERVICE}/ModelInfer")

    def ask(self, method: str, **fields: Any) -> Any:
        request = getattr(service_pb2, f"{method}Request")(**fields)
        return self._channel.ask(f"{_SERVICE}/{method}", request, getattr(service_pb2, f"{method}Response"))

    def encode(self, request: Any) -> bytes:
        return bytes(request.SerializeToString())

    def infer(self, model: str) -> Send:  # noqa: ARG002
        """The model stands in the message."""
        return self._infer

    def decode(self, reply: Reply) -> Any:
        return service_pb2.ModelInferResponse.FromString(reply.body)

    def inputs(self, request: bytes) -> dict[str, tuple[str, int]]:
        held = service_pb2.ModelInferRequest.FromString(request).inputs
        return {each.name: (each.datatype, len(each.shape)) for each in held}

    def renamed(self, request: bytes, model: str) -> bytes:
        """Of a scalar that is there twice protobuf takes the last."""
        return request + bytes(service_pb2.ModelInferRequest(model_name=model).SerializeToString())

    def prepare(self, calls: int) -> None:
        self._channel.prepare(calls)

    def diagnose(self, error: CallError) -> str | None:
        return self._channel.diagnose(error, "Triton")

    def close(self) -> None:
        self._channel.close()
