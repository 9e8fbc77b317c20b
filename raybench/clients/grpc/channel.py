"""The way to a server over gRPC: what is asked of it goes through grpcio, the load over connections of our own."""

from typing import Any

import grpc

from raybench.clients.grpc.connection_credentials import PLAIN, Access
from raybench.clients.grpc.probe import obstacle
from raybench.clients.grpc.unary import Connections, Send

DESCRIBE_TIMEOUT_S = 10.0
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels of a process share one connection
)


class CallError(Exception):
    """A call that failed: gRPC's status, and what was said of it, without our secrets."""

    def __init__(self, status: str, said: str | None) -> None:
        super().__init__(status, said)
        self.status, self.said = status, said


class Channel:
    """A way to one server; with every call go the headers that open it."""

    def __init__(self, url: str, access: Access = PLAIN) -> None:
        self._url, self._access = url, access
        self._headers = access.headers or None
        self._grpc, self._calls = _opened(url, access), Connections(url, access)

    def method(self, path: str) -> Send:
        """A method that takes and gives bytes, with a deadline in seconds; it never raises for what the server or the
        network does."""
        return self._calls.method(path)

    def prepare(self, calls: int) -> None:
        """Be ready for so many calls of methods at once, so that none has to wait for a handshake."""
        self._calls.prepare(calls, DESCRIBE_TIMEOUT_S)

    def ask(self, path: str, request: Any, answer: Any, timeout_s: float | None = None) -> Any:
        """One call with messages, off the clock; raises CallError."""
        call = self._grpc.unary_unary(
            path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        try:
            return call(request, timeout=timeout_s or DESCRIBE_TIMEOUT_S, metadata=self._headers)
        except grpc.RpcError as error:
            raise CallError(error.code().name, self._access.redacted(error.details())) from None  # it has our secrets

    def stranger(self, error: CallError, name: str) -> str | None:
        """Why a failed call met no server of this name that lets us in, and the remedy; None where it met one."""
        if error.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            return f"no {name} answers: {obstacle(self._url, self._access.tls)}"
        if error.status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            return f"it lets nobody in without the right headers ({error.status}: {error.said}): give them by -H"
        if error.status == "UNIMPLEMENTED":
            return f"a gRPC server answers that is not {name}; name the gRPC port of one"
        return None

    def close(self) -> None:
        self._calls.close()
        self._grpc.close()


def _opened(url: str, access: Access) -> grpc.Channel:
    if access.tls is None:
        return grpc.insecure_channel(url, options=_OPTIONS)
    tls = access.tls
    credentials = grpc.ssl_channel_credentials(tls.authorities(), tls.key, tls.certificate)
    named = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
    return grpc.secure_channel(url, credentials, options=(*_OPTIONS, *named))
