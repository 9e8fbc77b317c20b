"""Servers that break off, refuse, flood or speak something else: each call ends in time, with what the server said."""

import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from certificates import Authority
from h2.errors import ErrorCodes
from hpack import Encoder
from http2_calls import (
    PATH,
    PONG,
    SETTLED,
    answer_frames,
    await_request,
    block,
    calling,
    http_status,
    peak_memory_bytes,
    raw,
    raw_server,
    reset,
    reset_connection,
    trailers_only,
)
from http2_peer import HEADERS, Call, peer

from raybench.clients.base import Reply
from raybench.clients.grpc import http2_frames as wire
from raybench.clients.grpc.channel import CallError, Channel
from raybench.clients.grpc.connection_credentials import ConnectionCredentials, Tls
from raybench.clients.grpc.http2_frames import frame

DEADLINE_S = 0.5
REFUSED = frame(
    wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, block([*HEADERS, ("grpc-status", "8"), ("grpc-message", "no")])
)
WIDE = frame(wire.SETTINGS, 0, 0, struct.pack(">HI", wire.INITIAL_WINDOW_SIZE, 2**30)) + frame(
    wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30)
)


def test_an_answer_survives_a_broken_write() -> None:
    """What a server answered before it broke the connection, in the middle of a request, is the reply."""

    def refuse(connection: socket.socket) -> None:
        connection.sendall(WIDE + SETTLED)
        for _ in range(20):
            connection.recv(2**16)
        connection.sendall(REFUSED)
        time.sleep(0.1)
        reset_connection(connection)

    with raw_server(refuse) as url, calling(url) as call:
        assert call(bytes(50_000_000), 5.0) == Reply(status="RESOURCE_EXHAUSTED", error="no")


def literal(name: bytes, value: bytes) -> bytes:
    """A header as bytes of any kind (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def test_odd_bytes_do_not_hide_a_status() -> None:
    """A header that is no UTF-8 leaves the others as they are, and is shown as well as it can be."""
    odd = literal(b"grpc-message", b"caf\xe9") + literal(b"x-\xff", b"\xfe")
    answer = block([*HEADERS, ("grpc-status", "8")]) + odd
    with peer(raw(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, answer)) as served, calling(served.url) as call:
        assert call() == Reply(status="RESOURCE_EXHAUSTED", error="caf\N{REPLACEMENT CHARACTER}")


def test_absurd_values_raise_nothing() -> None:
    """A status of thousands of digits and a host that no name server can be asked for are failures with a status."""
    digits = block([*HEADERS, ("grpc-status", "9" * 4400)])
    with peer(raw(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, digits)) as served, calling(served.url) as call:
        assert call().status == "UNKNOWN"
    for url in ("a..b:1", f"{'a' * 70}.b:1", "\N{SNOWMAN}..:1", "localhost:99999"):
        with calling(url) as call:
            assert call().status == "UNAVAILABLE"


def bomb() -> bytes:
    """Headers of a few kilobytes that are some hundred megabytes when each reference is followed."""
    encoder = Encoder()
    big = encoder.encode([("x", "y" * 4000)], huffman=False)
    return block(HEADERS) + big + b"\xbe" * 60_000


FLOODS = {
    "CONTINUATION": (frame(wire.HEADERS, 0, 1), frame(wire.CONTINUATION, 0, 1, b"x" * 5)),
    "empty CONTINUATION": (frame(wire.HEADERS, 0, 1), frame(wire.CONTINUATION, 0, 1)),
    "PING": (b"", frame(wire.PING, 0, 0, b"12345678")),
    "SETTINGS": (b"", frame(wire.SETTINGS, 0, 0)),
    "full SETTINGS": (b"", frame(wire.SETTINGS, 0, 0, struct.pack(">HI", 4, 9) * 2000)),
    "empty DATA": (answer_frames(1)[0], frame(wire.DATA, 0, 1)),
    "padded DATA": (answer_frames(1)[0], frame(wire.DATA, wire.PADDED, 1, b"\xff" + bytes(255))),
    "WINDOW_UPDATE": (b"", frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))),
    "1xx": (b"", frame(wire.HEADERS, wire.END_HEADERS, 1, block([(":status", "103")]))),
    "GOAWAY": (b"", frame(wire.GOAWAY, 0, 0, struct.pack(">II", 1, 0) + b"x" * 1000)),
    "another stream": (b"", frame(wire.DATA, 0, 9, bytes(1000))),
    "unknown type": (b"", frame(0xBE, 0, 0, bytes(1000))),
    "HPACK bomb": (b"", frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, bomb())),
}


@pytest.mark.parametrize(("first", "again"), FLOODS.values(), ids=FLOODS)
def test_a_flood_is_bounded(first: bytes, again: bytes) -> None:
    """Whatever a server floods a call with, it ends within its deadline and a second, and costs less than 64 MiB."""

    def flood(connection: socket.socket) -> None:
        await_request(connection)
        connection.sendall(first)
        while True:
            connection.sendall(again * (1 + 2**16 // len(again)))

    with raw_server(flood) as url, calling(url) as call:
        before, began_s = peak_memory_bytes(restart=True), time.monotonic()
        assert call(timeout_s=DEADLINE_S).status in ("DEADLINE_EXCEEDED", "INTERNAL")
        call(timeout_s=DEADLINE_S)
        assert time.monotonic() - began_s < 2 * DEADLINE_S + 1
        assert peak_memory_bytes() - before < 64 * 2**20


def test_a_flood_between_calls_is_bounded() -> None:
    """A server that floods a connection between calls does not hold the next one past its deadline."""

    def flood(connection: socket.socket) -> None:
        await_request(connection)
        connection.sendall(b"".join(answer_frames(1)))
        while True:
            connection.sendall(frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 10_000)

    with raw_server(flood) as url, calling(url) as call:
        assert call() == PONG
        time.sleep(0.1)
        began_s = time.monotonic()
        assert call(timeout_s=DEADLINE_S).status == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began_s < DEADLINE_S + 1


def goes_away(call: Call) -> None:
    call.send(frame(wire.GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
    call.connection.close()


@pytest.mark.parametrize("refuse", [reset(ErrorCodes.REFUSED_STREAM), goes_away], ids=["refuses", "goes away"])
def test_a_refusal_on_a_new_connection_is_no_failure(refuse: Callable[[Call], None]) -> None:
    """A call that a server has not begun with is sent once more, also where it was the first of its connection."""
    scripts = iter([refuse])
    with peer(lambda call: next(scripts, Call.answer)(call)) as served, calling(served.url) as call:
        assert call() == PONG
        assert len(served.calls) == 2


def test_a_connection_that_is_closed_unused_is_opened_again() -> None:
    """A server that restarts while a connection is set up costs no call: it is asked for another one."""

    def answer(connection: socket.socket) -> None:
        await_request(connection)
        connection.sendall(b"".join(answer_frames(1)))
        connection.recv(1)

    with raw_server(socket.socket.close, answer) as url, calling(url) as call:
        assert call() == PONG


HTTP_FAILURES = {
    "500 and OK": (trailers_only(("grpc-status", "0"), status="500"), "UNKNOWN", "HTTP status 500"),
    "503 and OK": (trailers_only(("grpc-status", "0"), status="503"), "UNAVAILABLE", "HTTP status 503"),
    "204 and OK": (trailers_only(("grpc-status", "0"), status="204"), "UNKNOWN", "HTTP status 204"),
    "500 and NOT_FOUND": (trailers_only(("grpc-status", "5"), status="500"), "NOT_FOUND", ""),
    "a page": (trailers_only(("content-type", "text/html")), "UNKNOWN", "type text/html"),
}


@pytest.mark.parametrize(("script", "status", "said"), HTTP_FAILURES.values(), ids=HTTP_FAILURES)
def test_an_http_error_is_never_ok(script: Callable[[Call], None], status: str, said: str) -> None:
    """Only an answer of HTTP status 200 can be OK; gRPC's own error has precedence over that of HTTP."""
    with peer(script) as served, calling(served.url) as call:
        reply = call()
        assert reply.status == status
        assert said in (reply.error or "")


def test_a_status_survives_a_reset() -> None:
    """The HTTP status of a proxy is the failure, not that it then reset the stream or closed the connection."""
    unavailable = frame(wire.HEADERS, wire.END_HEADERS, 1, block([(":status", "503")]))
    resets = frame(wire.RST_STREAM, 0, 1, struct.pack(">I", ErrorCodes.INTERNAL_ERROR))

    def answer(end: bytes) -> Callable[[socket.socket], None]:
        def script(connection: socket.socket) -> None:
            await_request(connection)
            connection.sendall(unavailable + end)
            connection.close()

        return script

    for end in (resets, b""):
        with raw_server(answer(end)) as url, calling(url) as call:
            reply = call()
            assert reply.status == "UNAVAILABLE"
            assert "HTTP status 503" in (reply.error or "")


def test_a_server_says_why_it_goes_away() -> None:
    """The code and the text of a GOAWAY are in the sentence, without our secrets."""
    away = frame(wire.GOAWAY, 0, 0, struct.pack(">II", 0, ErrorCodes.ENHANCE_YOUR_CALM) + b"too many: tok3n\n")

    def go_away(connection: socket.socket) -> None:
        await_request(connection)
        connection.sendall(away)

    credentials = ConnectionCredentials(secrets=(("tok3n", "$TOKEN"),))
    with raw_server(go_away) as url, calling(url, credentials) as call:
        reply = call()
        assert reply.status == "UNAVAILABLE"
        assert "error 11 (ENHANCE_YOUR_CALM): 'too many: $TOKEN\\n'" in (reply.error or "").replace("\\\\", "\\")


SPEAKERS = {
    "HTTP/1": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server, not a gRPC one ('HTTP/1.1 400 Bad Request')"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "something that says 'SSH-2.0-OpenSSH_9.2'"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x46", "a server that wants TLS"),
}


@pytest.mark.parametrize(("first", "there"), SPEAKERS.values(), ids=SPEAKERS)
def test_who_speaks_something_else_is_named(first: bytes, there: str) -> None:
    """A port where no HTTP/2 is spoken is named by what it says."""
    with raw_server(lambda connection: connection.sendall(first)) as url, calling(url) as call:
        assert call() == Reply(status="INTERNAL", error=f"the server does not speak HTTP/2: there is {there}")


@pytest.mark.parametrize("status", ["502", "504"])
def test_a_proxy_without_a_server_is_named(status: str) -> None:
    """A proxy that finds no server behind it is not called a gRPC server of another kind."""
    with peer(http_status(status)) as served, closing(Channel(served.url)) as channel:
        from tritonclient.grpc import service_pb2

        with pytest.raises(CallError) as failed:
            channel.ask(PATH, service_pb2.ServerLiveRequest(), service_pb2.ServerLiveResponse)
        assert f"answers with HTTP status {status}, not Triton" in (channel.diagnose(failed.value, "Triton") or "")
        served.complaints.clear()


def test_an_answer_before_the_end_of_tls(tmp_path: Path) -> None:
    """An answer that arrives together with the end of its connection is not lost over TLS either."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signed = authority.signed("server", "localhost")
    context.load_cert_chain(signed.certificate, signed.key)

    def answer(connection: socket.socket) -> None:
        encrypted = context.wrap_socket(connection, server_side=True)
        await_request(encrypted)
        encrypted.sendall(b"".join(answer_frames(1)))
        encrypted.unwrap()

    credentials = ConnectionCredentials(tls=Tls(ca=authority.certificate.read_bytes()))
    with raw_server(answer) as url, calling(url.replace("127.0.0.1", "localhost"), credentials) as call:
        assert call(timeout_s=5) == PONG
