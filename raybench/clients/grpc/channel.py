"""A gRPC channel to one server: metadata and control calls use grpcio, and so do load requests where that is asked for;
else they use our own HTTP/2 connections."""

import re
from contextlib import suppress
from typing import Any

import grpc

from raybench.clients.base import OK, Reply
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.grpc.probe import unreachable_reason
from raybench.clients.grpc.unary import Send, UnaryCalls
from raybench.config import OWN_CLIENT

DESCRIBE_TIMEOUT_S = 10.0
OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # as our own connections: a company's proxy is for the web
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels of a process share one connection
    ("grpc.max_reconnect_backoff_ms", 1000),  # by default up to two minutes, in which a server that is up looks down
)
_HTTP_STATUS = re.compile(r"http2 header with status: (\d+)")  # as grpcio puts it


class CallError(Exception):
    """A call that failed: gRPC's status, and the server's message without our secrets."""

    def __init__(self, status: str, said: str | None) -> None:
        super().__init__(status, said)
        self.status, self.said = status, said


class Channel:
    """Calls to one server; each carries the headers of its credentials."""

    def __init__(self, url: str, credentials: ConnectionCredentials = NO_CREDENTIALS, client: str = OWN_CLIENT) -> None:
        self._url, self._credentials, self._is_own = url, credentials, client == OWN_CLIENT
        self._headers = credentials.headers or None
        self._grpc, self._calls = _open_channel(url, credentials), UnaryCalls(url, credentials)

    def method(self, path: str) -> Send:
        """A method that takes and gives bytes, with a deadline in seconds; it never raises for what the server or the
        network does."""
        return self._calls.method(path) if self._is_own else self._grpcio_method(path)

    def prepare(self, calls: int) -> None:
        """Be ready for so many calls of methods at once, so that none has to wait for a handshake."""
        if self._is_own:
            self._calls.prepare(calls, DESCRIBE_TIMEOUT_S)
            return
        with suppress(grpc.FutureTimeoutError):
            grpc.channel_ready_future(self._grpc).result(timeout=DESCRIBE_TIMEOUT_S)

    def ask(self, path: str, request: Any, answer: Any, timeout_s: float | None = None) -> Any:
        """One call with messages, off the clock; raises CallError."""
        call = self._grpc.unary_unary(
            path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        try:
            return call(request, timeout=timeout_s or DESCRIBE_TIMEOUT_S, metadata=self._headers)
        except grpc.RpcError as error:
            said = self._credentials.redacted(error.details())
            raise CallError(error.code().name, said) from None  # the cause holds our secrets

    def _grpcio_method(self, path: str) -> Send:
        """The same by grpcio: all calls share one connection, as they do in other clients."""
        call = self._grpc.unary_unary(path)  # without serializers it takes and gives bytes

        def send(request: bytes, timeout_s: float) -> Reply:
            try:
                body = call(request, timeout=timeout_s, metadata=self._headers)
            except grpc.RpcError as error:
                return Reply(status=error.code().name, error=self._credentials.redacted(error.details()))
            return Reply(status=OK, body=body, received_bytes=len(body))

        return send

    def diagnose(self, error: CallError, name: str) -> str | None:
        """Why a failed call reached no server of this name that lets us in, and the remedy; None where it did."""
        if http := _HTTP_STATUS.search(error.said or ""):
            return (
                f"a server or proxy answers with HTTP status {http[1]}, not {name}: name the gRPC port of a running one"
            )
        if error.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            return f"no {name} answers: {unreachable_reason(self._url, self._credentials.tls)}"
        if error.status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            return f"it needs the right headers ({error.status}: {error.said}): give them with -H"
        if error.status == "UNIMPLEMENTED":
            return f"a gRPC server answers, but it is not {name}; name the gRPC port of one"
        return None

    def close(self) -> None:
        self._calls.close()
        self._grpc.close()


def _open_channel(url: str, credentials: ConnectionCredentials) -> grpc.Channel:
    if credentials.tls is None:
        return grpc.insecure_channel(url, options=OPTIONS)
    tls = credentials.tls
    ssl_credentials = grpc.ssl_channel_credentials(tls.authorities(), tls.key, tls.certificate)
    named = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
    return grpc.secure_channel(url, ssl_credentials, options=(*OPTIONS, *named))
