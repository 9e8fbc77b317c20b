"""What a response over HTTP/2 means to gRPC (grpc/doc/PROTOCOL-HTTP2.md): a status, its message, and one message."""

import struct
import zlib
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from grpc import StatusCode

from raybench.clients.base import OK, UNAVAILABLE, Reply
from raybench.clients.grpc.header_block import fields_of
from raybench.clients.grpc.http2_stream import ProtocolError, StreamResponse

PREFIX = struct.Struct(">BI")  # of a message: whether it is compressed, and its length
_WINDOW_BITS = {"deflate": zlib.MAX_WBITS, "gzip": 16 + zlib.MAX_WBITS}  # of zlib: its own format, and that of gzip
_LARGEST_INFLATED = 48 * 2**20
_INFLATE_BYTES = 2**20  # at a time
_STATUS = {str(code.value[0]): code.name for code in StatusCode}
# What an HTTP status means where there is no gRPC status: grpc/doc/http-grpc-status-mapping.md.
_BY_HTTP = {"400": "INTERNAL", "401": "UNAUTHENTICATED", "403": "PERMISSION_DENIED", "404": "UNIMPLEMENTED"}
_BY_HTTP |= dict.fromkeys(("429", "502", "503", "504"), UNAVAILABLE)


class GrpcStatus(NamedTuple):
    """The status of a call, the message of one that failed, and how a compressed answer is compressed."""

    status: str
    said: str
    encoding: str
    is_final: bool  # whether it says all, so that it does not matter how the stream ended


def reply_of(response: StreamResponse) -> Reply:
    """The reply in a response; raises what cut it off, and ProtocolError."""
    outcome = _outcome(tuple(response.blocks))
    if response.cut_off and not outcome.is_final:
        raise response.cut_off
    if outcome.status != OK:
        return Reply(status=outcome.status, error=outcome.said)
    return _message(response.body, outcome.encoding)


def _message(framed: bytearray, encoding: str) -> Reply:
    flag, size = PREFIX.unpack_from(framed) if len(framed) >= PREFIX.size else (None, None)
    if flag not in (0, 1) or size != len(framed) - PREFIX.size:
        return Reply(status="INTERNAL", error=f"the answer of {len(framed)} bytes is not one message of gRPC")
    body = bytes(memoryview(framed)[PREFIX.size :])
    return _inflated(body, encoding) if flag else Reply(status=OK, body=body, received_bytes=len(body))


def _inflated(body: bytes, encoding: str) -> Reply:
    if encoding not in _WINDOW_BITS:
        return Reply(status="INTERNAL", error=f"the answer is compressed by {encoding!r}, which was not asked for")
    inflate, pieces, size = zlib.decompressobj(_WINDOW_BITS[encoding]), list[bytes](), 0
    try:
        while not inflate.eof and (piece := inflate.decompress(body, _INFLATE_BYTES)):
            pieces.append(piece)
            body, size = inflate.unconsumed_tail, size + len(piece)
            if size > _LARGEST_INFLATED:
                error = f"the compressed answer holds more than {_LARGEST_INFLATED >> 20} MiB: turn its compression off"
                return Reply(status="RESOURCE_EXHAUSTED", error=error)
    except zlib.error as error:
        return Reply(status="INTERNAL", error=f"the answer is not {encoding}: {error}")
    if not inflate.eof:
        return Reply(status="INTERNAL", error=f"the answer by {encoding} is incomplete")
    return Reply(status=OK, body=b"".join(pieces), received_bytes=size)


@lru_cache(maxsize=32)
def _outcome(blocks: tuple[bytes, ...]) -> GrpcStatus:
    """The outcome by the header blocks of a response: cached, as they hardly ever differ."""
    fields = [each for each in map(fields_of, blocks) if not each.get(":status", "").startswith("1")]
    if not fields:
        raise ProtocolError("an answer without headers")
    headers, trailers = fields[0], fields[-1]
    http, code = headers.get(":status", "none"), trailers.get("grpc-status")
    encoding = headers.get("grpc-encoding", "identity")
    status = None if code is None else _STATUS.get(code, "UNKNOWN")
    if status is None or (status == OK and http != "200"):
        kind = f", type {headers['content-type']}," if "content-type" in headers else ""
        said = f"an answer of HTTP status {http}{kind} without a status of gRPC"
        return GrpcStatus(_BY_HTTP.get(http, "UNKNOWN"), said, encoding, is_final=http != "200")
    return GrpcStatus(status, unquote(trailers.get("grpc-message", "")), encoding, is_final=True)
