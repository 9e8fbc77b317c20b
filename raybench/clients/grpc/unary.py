"""Unary calls of gRPC over HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md): bytes out, bytes in, failures as values.

Each call in flight has a connection of its own. A load generator needs little of what grpcio does for such a call;
docs/method.md says what the rest costs.
"""

import time
from collections.abc import Callable
from functools import lru_cache

from raybench.clients.base import UNAVAILABLE, Reply
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.connection_pool import ConnectionPool
from raybench.clients.grpc.grpc_response import PREFIX, reply_of
from raybench.clients.grpc.header_block import request_block
from raybench.clients.grpc.http2_stream import ProtocolError, StreamReset

# What a reset by an HTTP/2 error code means where there is no gRPC status: the protocol's document.
_BY_RESET = {8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}
_LONGEST_ERROR = 4000

Send = Callable[[bytes, float], Reply]


class UnaryCalls:
    """Calls to one server, over connections that they share one after the other."""

    def __init__(self, url: str, credentials: ConnectionCredentials) -> None:
        self._url, self._credentials = url, credentials
        self._pool = ConnectionPool(url, credentials)

    def method(self, path: str) -> Send:
        """A method that takes and gives bytes, with a deadline in seconds; it never raises for what the server or the
        network does."""
        block = lru_cache(lambda timeout_s: request_block(path, self._url, self._credentials, timeout_s))

        def send(request: bytes, timeout_s: float) -> Reply:
            deadline_s = time.perf_counter() + timeout_s
            reply = self._reply(block(timeout_s), request, deadline_s, timeout_s)
            return reply if reply.error is None else self._redacted(reply)

        return send

    def prepare(self, calls: int, timeout_s: float) -> None:
        """Open what so many calls at once will need; what fails here is left to the calls."""
        self._pool.prepare(calls, timeout_s)

    def close(self) -> None:
        self._pool.close()

    def _reply(self, block: bytes, request: bytes, deadline_s: float, timeout_s: float) -> Reply:
        prefix = PREFIX.pack(0, len(request))
        try:
            return reply_of(self._pool.exchange(block, prefix, request, deadline_s=deadline_s))
        except TimeoutError as error:
            said = f"no answer within {timeout_s:g} s"
            return Reply(status="DEADLINE_EXCEEDED", error=f"{said}: {error}" if str(error) else said)
        except StreamReset as error:
            return Reply(status=_BY_RESET.get(error.code, "INTERNAL"), error=str(error))
        except ProtocolError as error:
            return Reply(status="INTERNAL", error=f"the server does not speak HTTP/2: {error}")
        except OSError as error:
            return Reply(status=UNAVAILABLE, error=f"{self._url}: {error.strerror or error}")

    def _redacted(self, reply: Reply) -> Reply:
        """Without our secrets, and no longer than somebody reads."""
        error = self._credentials.redacted(reply.error) or ""
        return reply._replace(error=error if len(error) <= _LONGEST_ERROR else error[:_LONGEST_ERROR] + "...")
