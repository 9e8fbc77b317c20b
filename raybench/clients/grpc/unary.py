"""Unary calls of gRPC over HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md): bytes out, bytes in, failures as values.

Each call in flight has a connection of its own. A load generator needs little of what grpcio does for such a call;
docs/method.md says what the rest costs.
"""

import base64
import math
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, lru_cache
from urllib.parse import unquote

from grpc import StatusCode
from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from raybench.clients.base import OK, UNAVAILABLE, Reply
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.http2 import Connection, ProtocolError, StreamReset, StreamResponse, Unprocessed
from raybench.clients.grpc.probe import host_and_port

_STATUS = {code.value[0]: code.name for code in StatusCode}
_PREFIX = struct.Struct(">BI")  # of a message: whether it is compressed, and its length
# What an HTTP status or a reset by an HTTP/2 error code means where there is no gRPC status: the protocol's document
# and grpc/doc/http-grpc-status-mapping.md.
_BY_HTTP = {"400": "INTERNAL", "401": "UNAUTHENTICATED", "403": "PERMISSION_DENIED", "404": "UNIMPLEMENTED"}
_BY_HTTP |= dict.fromkeys(("429", "502", "503", "504"), UNAVAILABLE)
_BY_RESET = {8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}
_LONGEST_MS = 99_999_999  # a timeout has up to 8 digits

Send = Callable[[bytes, float], Reply]


class ConnectionPool:
    """Connections to one server, opened as calls need them; each is lent to one call at a time."""

    def __init__(self, url: str, credentials: ConnectionCredentials) -> None:
        self._url, self._credentials = url, credentials
        self._free: list[Connection] = []

    def method(self, path: str) -> Send:
        """A method that takes and gives bytes, with a deadline in seconds; it never raises for what the server or the
        network does."""
        block = lru_cache(lambda timeout_s: _header_block(path, self._url, self._credentials, timeout_s))

        def send(request: bytes, timeout_s: float) -> Reply:
            deadline_s = time.perf_counter() + timeout_s
            prefix = _PREFIX.pack(0, len(request))
            try:
                return _reply(self._exchange(block(timeout_s), prefix, request, deadline_s), self._credentials)
            except TimeoutError:
                return Reply(status="DEADLINE_EXCEEDED", error=f"no answer within {timeout_s:g} s")
            except StreamReset as error:
                return Reply(status=_BY_RESET.get(error.code, "INTERNAL"), error=str(error))
            except (ProtocolError, HPACKError) as error:
                return Reply(status="INTERNAL", error=f"the server does not speak HTTP/2: {error}")
            except OSError as error:
                return Reply(status=UNAVAILABLE, error=f"{self._url}: {error.strerror or error}")

        return send

    def prepare(self, calls: int, timeout_s: float) -> None:
        """Open what so many calls at once will need; what fails here is left to the calls."""
        deadline_s = time.perf_counter() + timeout_s
        with suppress(OSError, ProtocolError):
            while len(self._free) < calls:
                self._free.append(self._open(deadline_s))

    def close(self) -> None:
        while free := self._take_free():
            free.close()

    def _exchange(self, block: bytes, prefix: bytes, request: bytes, deadline_s: float) -> StreamResponse:
        """On a free connection on which the server still takes calls, or a new one."""
        while free := self._take_free():
            with suppress(Unprocessed):
                return self._call_on(free, block, prefix, request, deadline_s)
        return self._call_on(self._open(deadline_s), block, prefix, request, deadline_s)

    def _call_on(
        self, connection: Connection, block: bytes, prefix: bytes, request: bytes, deadline_s: float
    ) -> StreamResponse:
        try:
            return connection.exchange(block, prefix, request, deadline_s=deadline_s)
        finally:
            if connection.is_reusable:
                self._free.append(connection)
            else:
                connection.close()

    def _take_free(self) -> Connection | None:
        try:
            return self._free.pop()  # the one used last: a low load keeps to few connections
        except IndexError:
            return None

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        return self._credentials.tls.context() if self._credentials.tls else None

    def _open(self, deadline_s: float) -> Connection:
        left_s = deadline_s - time.perf_counter()
        if left_s <= 0:
            raise TimeoutError
        opened = socket.create_connection(host_and_port(self._url), timeout=left_s)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._credentials.tls and self._tls:
                host = self._credentials.tls.server_name or host_and_port(self._url)[0]
                opened = self._tls.wrap_socket(opened, server_hostname=host)
            return Connection(opened, deadline_s)
        except BaseException:
            opened.close()
            raise


def _header_block(path: str, url: str, credentials: ConnectionCredentials, timeout_s: float) -> bytes:
    """The headers of a call as never-indexed literals (RFC 7541, 6.2.3): the same bytes serve every connection."""
    timeout_ms = min(math.ceil(timeout_s * 1e3), _LONGEST_MS)
    fields = (
        (":method", "POST"),
        (":scheme", "https" if credentials.tls else "http"),
        (":path", path),
        (":authority", (credentials.tls and credentials.tls.server_name) or url),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "raybench"),
        ("grpc-timeout", f"{timeout_ms}m"),
        *((key, _binary(value) if key.endswith("-bin") else value) for key, value in credentials.headers),
    )
    return Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields], huffman=False)


def _binary(value: str) -> str:
    return base64.b64encode(value.encode()).rstrip(b"=").decode()


def _reply(response: StreamResponse, credentials: ConnectionCredentials) -> Reply:
    if not response.blocks:
        raise ProtocolError("an answer without headers")
    status, said = _outcome(response.blocks[0], response.blocks[-1])
    if status != OK:
        return Reply(status=status, error=credentials.redacted(said))
    message = response.body
    if len(message) < _PREFIX.size or _PREFIX.unpack_from(message) != (0, len(message) - _PREFIX.size):
        return Reply(status="INTERNAL", error=f"the answer of {len(message)} bytes is not one uncompressed message")
    body = bytes(memoryview(message)[_PREFIX.size :])
    return Reply(status=OK, body=body, received_bytes=len(body))


@lru_cache
def _outcome(first: bytes, last: bytes) -> tuple[str, str]:
    """The gRPC status and its message, by the header blocks of a response: cached, as they hardly ever differ."""
    headers, trailers = _fields(first), _fields(last)
    if (code := trailers.get("grpc-status")) is not None:
        status = _STATUS.get(int(code)) if code.isascii() and code.isdigit() else None
        return status or "UNKNOWN", unquote(trailers.get("grpc-message", ""))
    http = headers.get(":status", "none")
    return _BY_HTTP.get(http, "UNKNOWN"), f"an answer of HTTP status {http} without a status of gRPC"


def _fields(block: bytes) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in Decoder().decode(block)}
