"""Answers that a server compresses: read as grpcio reads them, within bounds, and known to be compressed."""

import gzip
import zlib
from contextlib import closing

import pytest
from http2_calls import PATH, PONG
from http2_peer import HEADERS, OK, Call, message, peer

from raybench.clients.base import Reply
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS
from raybench.clients.grpc.unary import UnaryCalls

FORMS = {"gzip": gzip.compress, "deflate": zlib.compress}


def answer(call: Call, body: bytes, encoding: str | None) -> None:
    """An answer with compressed bytes, under this name."""
    named = [("grpc-encoding", encoding)] if encoding else []
    call.connection.h2.send_headers(call.stream, [*HEADERS, *named])
    framed = message(body, is_compressed=True)
    for first in range(0, len(framed), 16_384):
        call.connection.h2.send_data(call.stream, framed[first : first + 16_384])
    call.connection.h2.send_headers(call.stream, OK, end_stream=True)


def reply_to(body: bytes, encoding: str | None) -> Reply:
    """What a call makes of a compressed answer."""
    with (
        peer(lambda call: answer(call, body, encoding)) as served,
        closing(UnaryCalls(served.url, NO_CREDENTIALS)) as calls,
    ):
        return calls.method(PATH)(b"ping", 20)


@pytest.mark.parametrize("encoding", FORMS)
def test_a_compressed_answer_is_read(encoding: str) -> None:
    """What grpcio understands this client understands too."""
    assert reply_to(FORMS[encoding](b"pong"), encoding) == PONG


BAD = {
    "a bomb": (gzip.compress(bytes(2**28), 1), "gzip", ("RESOURCE_EXHAUSTED", "more than 48 MiB")),
    "garbage": (b"pong", "gzip", ("INTERNAL", "is not gzip")),
    "half of it": (zlib.compress(bytes(range(256)))[:40], "deflate", ("INTERNAL", "incomplete")),
    "not asked for": (b"pong", "snappy", ("INTERNAL", "compressed by 'snappy'")),
    "no name": (b"pong", None, ("INTERNAL", "compressed by 'identity'")),
}


@pytest.mark.parametrize(("body", "encoding", "expected"), BAD.values(), ids=BAD)
def test_a_bad_compressed_answer_is_a_failure(body: bytes, encoding: str, expected: tuple[str, str]) -> None:
    """An answer that cannot be decompressed, or only to an enormous one, is a failure with a sentence."""
    reply = reply_to(body, encoding)
    assert (reply.status, reply.body) == (expected[0], None)
    assert expected[1] in (reply.error or "")
