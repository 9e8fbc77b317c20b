"""Blocks of headers (HPACK, RFC 7541): those of a request, and the fields in those of a response."""

import base64
import math
from collections.abc import Mapping

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.http2_frames import LARGEST_HEADER_LIST
from raybench.clients.grpc.http2_stream import ProtocolError

_ACCEPTED_ENCODINGS = "identity, deflate, gzip"  # as grpcio, so that a server answers both clients alike
_LONGEST_MS = 99_999_999  # a timeout has up to 8 digits
_SHOWN = 200  # characters of an error, which may repeat what came


def request_block(path: str, url: str, credentials: ConnectionCredentials, timeout_s: float) -> bytes:
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
        ("grpc-accept-encoding", _ACCEPTED_ENCODINGS),
        ("grpc-timeout", f"{timeout_ms}m"),
        *((key, _binary(value) if key.endswith("-bin") else value) for key, value in credentials.headers),
    )
    return Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields], huffman=False)


def _binary(value: str) -> str:
    return base64.b64encode(value.encode()).rstrip(b"=").decode()


def fields_of(block: bytes) -> Mapping[str, str]:
    """Headers as text: what is not UTF-8 in one of them does not hide the others; raises ProtocolError."""
    decoder = Decoder(max_header_list_size=LARGEST_HEADER_LIST)
    decoder.max_allowed_table_size = decoder.header_table_size = 0  # as the client asks for
    try:
        return {_text(name): _text(value) for name, value in decoder.decode(block, raw=True)}
    except HPACKError as error:
        raise ProtocolError(str(error)[:_SHOWN]) from error


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
