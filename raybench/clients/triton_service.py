"""Triton's service (KServe v2), over gRPC or HTTP: messages of its gRPC interface, whichever way they travel."""

from typing import Any, Protocol

from raybench.clients.base import Reply
from raybench.clients.grpc.channel import CallError
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.grpc.kserve import GrpcService
from raybench.clients.grpc.unary import Send
from raybench.clients.triton_http import HttpService
from raybench.config import HTTP_JSON, OWN_CLIENT, is_http

_UNREADY = ("has no available versions", "is not ready")


class TritonService(Protocol):
    """Calls to one Triton. Requests and answers are the messages of grpc_service.proto."""

    def ask(self, method: str, **fields: Any) -> Any:
        """The answer to a call such as ModelConfig with the fields of its request, off the clock; raises CallError."""

    def encode(self, request: Any) -> bytes:
        """A ModelInferRequest, ready to send; raises ClientError where the protocol cannot carry it."""

    def infer(self, model: str) -> Send:
        """What sends encoded requests to a Triton model, with a deadline in seconds."""

    def decode(self, reply: Reply) -> Any:
        """The ModelInferResponse of a reply with status OK, its contents raw."""

    def inputs(self, request: bytes) -> dict[str, tuple[str, int]]:
        """Type and rank by name of what an encoded request holds."""

    def renamed(self, request: bytes, model: str) -> bytes:
        """An encoded request, for another model."""

    def prepare(self, calls: int) -> None:
        """Be ready for so many calls at once, so that none has to wait for a handshake."""

    def diagnose(self, error: CallError) -> str | None:
        """Why a failed call reached no Triton that lets us in, and the remedy; None where it did."""

    def close(self) -> None: ...


def triton_service(
    url: str,
    credentials: ConnectionCredentials = NO_CREDENTIALS,
    *,
    protocol: str | None = None,
    client: str = OWN_CLIENT,
) -> TritonService:
    """The service at a url, which says whether that is HTTP; `client` sends what goes over gRPC."""
    if is_http(url):
        return HttpService(url, credentials, is_json=protocol == HTTP_JSON)
    return GrpcService(url, credentials, client)


def is_unready(error: CallError) -> bool:
    """Whether Triton refused to describe a model that it has, and that is not loaded: by another code in 2.51."""
    return any(sentence in (error.said or "") for sentence in _UNREADY)
