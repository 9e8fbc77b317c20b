"""Connections to one server, opened as calls need them; each is lent to one call at a time."""

import ssl
import time
from contextlib import suppress
from functools import cached_property
from typing import TypeVar

from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.connection_setup import ConnectionSetup, NoConnection
from raybench.clients.grpc.deadline_socket import Bytes
from raybench.clients.grpc.http2 import Connection, Unprocessed
from raybench.clients.grpc.http2_stream import ProtocolError, StreamResponse

_Item = TypeVar("_Item")


class ConnectionPool:
    """Connections, and those that are still on their way after their call gave up. Threads share it."""

    def __init__(self, url: str, credentials: ConnectionCredentials) -> None:
        self._url, self._credentials = url, credentials
        self._server_name = credentials.tls.server_name if credentials.tls else None
        self._free: list[Connection] = []
        self._unfinished: list[ConnectionSetup] = []

    def prepare(self, calls: int, timeout_s: float) -> None:
        """Open what so many calls at once will need; what fails here is left to the calls."""
        deadline_s = time.perf_counter() + timeout_s
        with suppress(OSError, ProtocolError):
            while len(self._free) < calls:
                self._free.append(self._connect(deadline_s))

    def exchange(self, block: bytes, *pieces: Bytes, deadline_s: float) -> StreamResponse:
        """A call on a free connection on which the server still takes calls, or on a new one.

        A server may refuse it once: it is then sent again. Raises what Connection.exchange and ConnectionSetup raise.
        """
        refusals = 0
        while True:
            connection = free = _take(self._free)
            try:
                connection = free or self._connect(deadline_s)
                return self._call_on(connection, block, *pieces, deadline_s=deadline_s)
            except Unprocessed:
                refusals += not free or free.is_reusable  # what was free and has gone says nothing of the server
                if refusals > 1:
                    raise

    def close(self) -> None:
        while free := _take(self._free):
            free.close()
        while unfinished := _take(self._unfinished):
            unfinished.cancel()

    def _call_on(self, connection: Connection, block: bytes, *pieces: Bytes, deadline_s: float) -> StreamResponse:
        try:
            return connection.exchange(block, *pieces, deadline_s=deadline_s)
        finally:
            if connection.is_reusable:
                self._free.append(connection)
            else:
                connection.close()

    def _connect(self, deadline_s: float) -> Connection:
        """A new connection. One whose set-up takes longer than the deadline is kept for the next call."""
        setup = _take(self._unfinished)
        while setup and setup.has_failed:
            setup = _take(self._unfinished)
        setup = setup or ConnectionSetup(self._url, lambda: self._tls, self._server_name)
        try:
            return setup.result(deadline_s)
        except NoConnection:
            self._unfinished.append(setup)
            raise

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        return self._credentials.tls.context() if self._credentials.tls else None


def _take(items: list[_Item]) -> _Item | None:
    """The one used last: a low load keeps to few connections."""
    try:
        return items.pop()
    except IndexError:
        return None
