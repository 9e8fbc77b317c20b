"""Setting up a connection: the addresses of its host, one of which accepts it, TLS, and the settings of HTTP/2."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from raybench.clients.grpc.deadline_socket import DeadlineSocket
from raybench.clients.grpc.happy_eyeballs import addresses_of, connect_to_first
from raybench.clients.grpc.http2 import Connection, Unprocessed
from raybench.clients.grpc.probe import host_and_port
from raybench.clients.grpc.tls_socket import TlsSocket

SETUP_S = 20.0  # the limit of a set-up, as grpcio's
_LIMITS = "; a server or proxy that limits connections does this: use fewer lanes, or raise its limit"
_RESOLVING = "the address of its host is still being looked up"
_CONNECTING = "none of its addresses accepts a connection"
_ENCRYPTING = "it takes a connection, but does not answer the TLS handshake" + _LIMITS
_SETTLING = "it takes a connection, but sends no HTTP/2 settings on it" + _LIMITS


class NoConnection(TimeoutError):
    """A call's deadline passed while its connection was being set up: what that waits for."""


class ConnectionSetup:
    """A connection on its way, in a thread of its own: a call may give up on it, and the next one take it over."""

    def __init__(self, url: str, tls: Callable[[], ssl.SSLContext | None], server_name: str | None) -> None:
        self._url, self._tls, self._server_name = url, tls, server_name
        self._deadline_s = time.perf_counter() + SETUP_S
        self._waits_for, self._is_cancelled = _RESOLVING, False
        self._socket: socket.socket | None = None
        self._future: Future[Connection] = Future()
        threading.Thread(target=self._run, name="connection set-up", daemon=True).start()

    @property
    def has_failed(self) -> bool:
        if self._future.done():
            return self._future.exception() is not None
        return time.perf_counter() >= self._deadline_s

    def result(self, deadline_s: float) -> Connection:
        """The connection; raises NoConnection at the deadline, after which it may be asked for again, OSError and
        ProtocolError."""
        try:
            return self._future.result(max(0.0, min(deadline_s, self._deadline_s) - time.perf_counter()))
        except TimeoutError:
            if not self.has_failed:
                raise NoConnection(self._waits_for) from None
            raise ConnectionError(f"no connection within {SETUP_S:g} s: {self._waits_for}") from None

    def cancel(self) -> None:
        """Nobody wants the connection any more."""
        self._is_cancelled = True
        self._future.add_done_callback(_close_result)
        if opened := self._socket:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)  # its thread waits for what comes on it

    def _run(self) -> None:
        try:
            self._future.set_result(self._open())
        except BaseException as error:
            self._future.set_exception(error)

    def _open(self) -> Connection:
        host, port = host_and_port(self._url)
        try:
            addresses = addresses_of(host, port)
            self._waits_for = _CONNECTING
            self._socket = connect_to_first(addresses, self._check)
        except (ValueError, OverflowError) as error:
            raise ConnectionError(f"no host can have this name or port: {error}") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = self._transport(self._socket, self._server_name or host)
            self._waits_for = _SETTLING
            return Connection(transport)
        except BaseException as error:
            self._socket.close()
            if isinstance(error, ConnectionError):  # a server that restarts, say: no call has gone there
                raise Unprocessed(error.strerror or str(error)) from error
            raise

    def _transport(self, opened: socket.socket, name: str) -> DeadlineSocket:
        if not (tls := self._tls()):
            return DeadlineSocket(opened, self._deadline_s)
        self._waits_for = _ENCRYPTING
        try:
            return TlsSocket(opened, self._deadline_s, tls, name)
        except ValueError as error:
            raise OSError(f"no certificate can have the name {name}: {error}") from error

    def _check(self) -> None:
        if self._is_cancelled:
            raise ConnectionAbortedError("nobody wants the connection any more")
        if time.perf_counter() >= self._deadline_s:
            raise TimeoutError


def _close_result(future: "Future[Connection]") -> None:
    if not future.exception():
        future.result().close()
