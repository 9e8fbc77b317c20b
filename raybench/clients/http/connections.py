"""Calls over HTTP/1.1 (RFC 9112) on connections that are kept: bytes out, bytes in, failures as values.

Each call in flight has a connection of its own, as over gRPC. What comes back is parsed by http.client.
"""

import io
import select
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from http.client import HTTPException, HTTPMessage, HTTPResponse, IncompleteRead, RemoteDisconnected
from typing import Any, NamedTuple, cast

from raybench.clients.base import OK, UNAVAILABLE, Reply
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.happy_eyeballs import addresses_of, connect_to_first
from raybench.clients.grpc.probe import host_and_port
from raybench.clients.grpc.unary import Send
from raybench.clients.http.statuses import grpc_status, sentence
from raybench.config import without_scheme

NOT_HTTP = "the server does not speak HTTP/1.1"


class HttpAnswer(NamedTuple):
    """The body of a reply with status OK: the fields of its head, and what came after them."""

    fields: HTTPMessage
    content: bytes


class HttpConnections:
    """Connections to one server, opened as calls need them; each is lent to one call at a time."""

    def __init__(self, url: str, credentials: ConnectionCredentials) -> None:
        self._address, self._credentials = without_scheme(url), credentials
        self._free: list[_Connection] = []

    def method(self, path: str, verb: str = "POST") -> Send:
        """A method that takes what `message` makes, with a deadline in seconds; it never raises for what the server or
        the network does. The body of a reply with status OK is an HttpAnswer."""
        head = self._head(verb, path)

        def send(request: bytes, timeout_s: float) -> Reply:
            deadline_s = time.perf_counter() + timeout_s
            try:
                return self._reply(*self._exchange(head, request, deadline_s))
            except TimeoutError:
                return Reply(status="DEADLINE_EXCEEDED", error=f"no answer within {timeout_s:g} s")
            except IncompleteRead:
                return Reply(status=UNAVAILABLE, error=f"{self._address}: the connection ended within the answer")
            except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
                return Reply(status=UNAVAILABLE, error=f"{self._address}: {getattr(error, 'strerror', None) or error}")
            except (HTTPException, ValueError) as error:
                said = f"{type(error).__name__} {error}".strip()
                return Reply(status="INTERNAL", error=f"{NOT_HTTP}: {said}")

        return send

    def prepare(self, calls: int, timeout_s: float) -> None:
        """Open what so many calls at once will need; what fails here is left to the calls."""
        deadline_s = time.perf_counter() + timeout_s
        with suppress(OSError, UnicodeError):
            while len(self._free) < calls:
                self._free.append(self._open(deadline_s))

    def close(self) -> None:
        while free := self._take_free():
            free.close()

    def _head(self, verb: str, path: str) -> bytes:
        """The request line and the fields that all requests share."""
        host = (self._credentials.tls and self._credentials.tls.server_name) or self._address
        lines = (f"{verb} {path} HTTP/1.1", f"Host: {host}", "User-Agent: raybench", "Accept-Encoding: identity")
        own = (f"{key}: {value}" for key, value in self._credentials.headers)
        return "".join(f"{line}\r\n" for line in (*lines, *own)).encode("latin-1")

    def _exchange(self, head: bytes, request: bytes, deadline_s: float) -> tuple[HTTPResponse, bytes]:
        """On a free connection that the server has not closed, or a new one.

        A request that was sent is never sent again: the server may have begun with it.
        """
        while free := self._take_free():
            if not free.has_ended():
                return self._call_on(free, head, request, deadline_s)
            free.close()
        return self._call_on(self._open(deadline_s), head, request, deadline_s)

    def _call_on(
        self, connection: "_Connection", head: bytes, request: bytes, deadline_s: float
    ) -> tuple[HTTPResponse, bytes]:
        try:
            return connection.exchange(head, request, deadline_s)
        finally:
            if connection.is_reusable:
                self._free.append(connection)
            else:
                connection.close()

    def _reply(self, response: HTTPResponse, content: bytes) -> Reply:
        if response.status != 200:
            said = sentence(response.status, response.reason, content)
            return Reply(status=grpc_status(response.status), error=self._credentials.redacted(said))
        return Reply(status=OK, body=HttpAnswer(response.headers, content), received_bytes=len(content))

    def _take_free(self) -> "_Connection | None":
        try:
            return self._free.pop()  # the one used last: a low load keeps to few connections
        except IndexError:
            return None

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        return self._credentials.tls.context("http/1.1") if self._credentials.tls else None

    def _open(self, deadline_s: float) -> "_Connection":
        address = host_and_port(self._address)
        opened = connect_to_first(addresses_of(*address), lambda: _check(deadline_s))
        try:
            opened.settimeout(_left_s(deadline_s))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._credentials.tls and self._tls:
                opened = self._tls.wrap_socket(opened, server_hostname=self._credentials.tls.server_name or address[0])
            return _Connection(opened)
        except BaseException:
            opened.close()
            raise


class _Connection:
    """A connection, for one call after the other."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket, self.is_reusable = opened, False
        self._unasked = select.poll()
        self._unasked.register(opened, select.POLLIN)

    def exchange(self, head: bytes, request: bytes, deadline_s: float) -> tuple[HTTPResponse, bytes]:
        """Send a request, and read the response; raises OSError, TimeoutError and HTTPException.

        A server may refuse a request while it still comes: what it says then counts, not the broken connection.
        """
        self.is_reusable = False
        broken = self._send(head, request, deadline_s)
        response = HTTPResponse(cast("Any", _Readable(self._socket, deadline_s)), method=None)
        try:
            response.begin()
            content = response.read()
        except RemoteDisconnected as error:
            raise broken or error from None
        finally:
            response.close()
        self.is_reusable = not (broken or response.will_close)
        return response, content

    def has_ended(self) -> bool:
        """Whether the server closed it, or sent something that nobody asked for."""
        return bool(self._unasked.poll(0))

    def close(self) -> None:
        self._socket.close()

    def _send(self, head: bytes, request: bytes, deadline_s: float) -> OSError | None:
        """Send all of it from where it lies; returns the error of a server that takes no more."""
        self._socket.settimeout(_left_s(deadline_s))
        try:
            if isinstance(self._socket, ssl.SSLSocket):  # it has no sendmsg
                self._socket.sendall(head)
                self._socket.sendall(request)
                return None
            sent = self._socket.sendmsg((head, request))
            if sent < len(head):
                self._socket.sendall(head[sent:])
            self._socket.settimeout(_left_s(deadline_s))
            self._socket.sendall(memoryview(request)[max(0, sent - len(head)) :])
        except (BrokenPipeError, ConnectionResetError) as error:
            return error
        return None


class _Readable(io.RawIOBase):
    """What http.client reads a response from: each read of the socket ends at the deadline of the call."""

    def __init__(self, opened: socket.socket, deadline_s: float) -> None:
        super().__init__()
        self._socket, self._deadline_s = opened, deadline_s

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_left_s(self._deadline_s))
        return self._socket.recv_into(buffer)


def message(content: bytes, content_type: str, fields: Mapping[str, str] = {}) -> bytes:
    """The fields and the content of one request; the rest of its head is the same for all of its method."""
    lines = {"Content-Type": content_type, "Content-Length": str(len(content)), **fields}
    return b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in lines.items()) + b"\r\n" + content


def _check(deadline_s: float) -> None:
    """Raise TimeoutError after the deadline."""
    _left_s(deadline_s)


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.perf_counter()
    if left_s <= 0:
        raise TimeoutError
    return left_s
