"""The client's calls over HTTP/2: whole requests, whatever form the answer has, and each failure under its name."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import pytest
from grpc import StatusCode
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from helpers import wait_until
from http2_calls import PATH, PONG, answer_frames, block, calling, http_status, raw, reset, trailers_only
from http2_peer import HEADERS, OK, Call, message, pass_by, peer

from raybench.clients.base import Reply
from raybench.clients.grpc import http2
from raybench.clients.grpc import http2_frames as wire
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.grpc.http2_frames import frame
from raybench.clients.grpc.unary import UnaryCalls

SOON_S = 0.3


# Windows and frames of all sizes that RFC 9113 allows, and bodies that need many of them.
TAKES = {
    "1 byte": ({SettingCodes.INITIAL_WINDOW_SIZE: 1}, 40),
    "6 bytes": ({SettingCodes.INITIAL_WINDOW_SIZE: 6}, 300),
    "as ever": ({}, 400_000),
    "much": ({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1, SettingCodes.MAX_FRAME_SIZE: 2**24 - 1}, 5_000_000),
}


@pytest.mark.parametrize(("settings", "size"), TAKES.values(), ids=TAKES)
def test_a_request_arrives_whole(settings: dict[int, int], size: int) -> None:
    """Whatever a server takes at a time, it gets the message as it is, and the headers of gRPC."""
    body = random.Random(size).randbytes(size)
    with peer(settings=settings) as served, calling(served.url) as call:
        for sent in (b"first", body, b"", body):
            assert call(sent, timeout_s=20.5) == PONG
            assert served.calls[-1].body == message(sent)
        assert served.calls[0].headers == [
            *((":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", served.url)),
            *(("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "raybench")),
            *(("grpc-accept-encoding", "identity, deflate, gzip"), ("grpc-timeout", "20500m")),
        ]
        assert len(served.connections) == 1


def test_headers_open_a_server() -> None:
    """With each call go the headers that open a server, binary ones as gRPC writes them, however long they are."""
    credentials = ConnectionCredentials(
        headers=(("authorization", "Bearer x"), ("a-bin", "text"), ("long", "y" * 40_000))
    )
    with peer() as served, calling(served.url, credentials) as call:
        assert call() == PONG
        assert served.calls[0].headers[-3:] == [
            ("authorization", "Bearer x"),
            ("a-bin", "dGV4dA"),
            ("long", "y" * 40_000),
        ]


def cut(frames: bytes, size: int) -> Callable[[Call], None]:
    def answer(call: Call) -> None:
        for at in range(0, len(frames), size):
            call.send(frames[at : at + size])
            time.sleep(0.001)

    return answer


def odd_forms(stream: int) -> dict[str, bytes]:
    """Answers that mean the same as the plainest one (RFC 9113, 4 to 6)."""
    head, data, end = answer_frames(stream)
    padded = frame(wire.DATA, wire.PADDED, stream, bytes([7]) + message(b"pong") + bytes(7))
    halves = [frame(wire.DATA, 0, stream, half) for half in (message(b"pong")[:3], message(b"pong")[3:])]
    trailers = block(OK)
    prioritized = frame(
        wire.HEADERS,
        wire.END_HEADERS | wire.PRIORITY | wire.PADDED,
        stream,
        bytes([2]) + bytes(5) + block(HEADERS) + bytes(2),
    )
    continued = [
        frame(wire.HEADERS, wire.END_STREAM, stream),
        frame(wire.CONTINUATION, 0, stream, trailers[:1]),
        frame(wire.CONTINUATION, wire.END_HEADERS, stream, trailers[1:]),
    ]
    between = [
        frame(wire.PING, 0, 0, b"12345678"),
        frame(wire.SETTINGS, 0, 0, struct.pack(">HI", 3, 100)),
        frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 9)),
        frame(0xBE, 0xFF, stream, b"of a type that nobody knows"),
    ]
    message_and_status = block([("grpc-message", "fine"), ("grpc-status", "0"), ("other", "x")], huffman=False)
    return {
        "plain": head + data + end,
        "padded": head + padded + end,
        "in halves": b"".join([head, *halves, end]),
        "prioritized": prioritized + data + end,
        "continued": b"".join([head, data, *continued]),
        "between": b"".join([*between, head, *between, data, *between, end]),
        "other trailers": head
        + data
        + frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, stream, message_and_status),
        "table of no size": frame(wire.HEADERS, wire.END_HEADERS, stream, b"\x20" + block(HEADERS)) + data + end,
    }


@pytest.mark.parametrize("size", [1, 10**6], ids=["byte by byte", "at once"])
@pytest.mark.parametrize("form", odd_forms(1))
def test_forms_of_an_answer_do_not_matter(form: str, size: int) -> None:
    """An answer is the same in all forms that HTTP/2 has for it, and the next call is not troubled by them."""
    with peer(lambda call: cut(odd_forms(call.stream)[form], size)(call)) as served, calling(served.url) as call:
        assert [call(), call(), call()] == [PONG] * 3
        assert len(served.connections) == 1


def test_pings_are_answered() -> None:
    """A server that asks whether we are there is told so, which it may need for its windows or its patience."""

    def ask(call: Call) -> None:
        call.connection.h2.ping(b"12345678")
        call.answer()

    with peer(ask) as served, calling(served.url) as call:
        assert [call(), call()] == [PONG] * 2
        wait_until(lambda: served.pongs[:1] == [b"12345678"])


def hang_up(call: Call) -> None:
    call.send(answer_frames(call.stream)[0])
    call.connection.close()


FAILURES = {
    "status and message": (
        lambda call: call.answer(b"", [("grpc-status", "8"), ("grpc-message", "CUDA%20out%3A %E2%82%AC")]),
        ("RESOURCE_EXHAUSTED", "CUDA out: €"),
    ),
    "trailers only": (trailers_only(("grpc-status", "5"), ("grpc-message", "no model")), ("NOT_FOUND", "no model")),
    "status of no name": (trailers_only(("grpc-status", "77")), ("UNKNOWN", "")),
    "no number": (trailers_only(("grpc-status", "x")), ("UNKNOWN", "")),
    "HTTP 401": (http_status("401"), ("UNAUTHENTICATED", "HTTP status 401")),
    "HTTP 403": (http_status("403"), ("PERMISSION_DENIED", "HTTP status 403")),
    "HTTP 404": (http_status("404"), ("UNIMPLEMENTED", "HTTP status 404")),
    "HTTP 503": (http_status("503"), ("UNAVAILABLE", "HTTP status 503")),
    "HTTP 200 alone": (http_status("200"), ("UNKNOWN", "HTTP status 200")),
    "cancelled": (reset(ErrorCodes.CANCEL), ("CANCELLED", "error 8")),
    "calm": (reset(ErrorCodes.ENHANCE_YOUR_CALM), ("RESOURCE_EXHAUSTED", "error 11")),
    "broken": (reset(ErrorCodes.INTERNAL_ERROR), ("INTERNAL", "error 2")),
    "no message": (lambda call: call.answer(b""), ("INTERNAL", "not one message of gRPC")),
    "two messages": (lambda call: call.answer(message(b"a") * 2), ("INTERNAL", "not one message of gRPC")),
    "compressed": (
        lambda call: call.answer(message(b"a", is_compressed=True)),
        ("INTERNAL", "compressed by 'identity'"),
    ),
    "hangs up": (hang_up, ("UNAVAILABLE", "closed the connection")),
    "a frame too long": (lambda call: call.send(b"HTTP/1.1 400 Bad Request\r\n"), ("INTERNAL", "speak HTTP/2")),
    "a frame too short": (raw(wire.WINDOW_UPDATE, 0, b"1"), ("INTERNAL", "speak HTTP/2")),
    "padding alone": (raw(wire.DATA, wire.PADDED, b""), ("INTERNAL", "speak HTTP/2")),
    "a table that it was not to keep": (
        raw(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, b"\xbe"),
        ("INTERNAL", "speak HTTP/2"),
    ),
    "no headers": (
        raw(wire.DATA, wire.END_STREAM, message(b"pong")),
        ("INTERNAL", "without headers"),
    ),
}


@pytest.mark.parametrize(("script", "expected"), FAILURES.values(), ids=FAILURES)
def test_a_failure_has_its_name(script: Callable[[Call], None], expected: tuple[str, str]) -> None:
    """What goes wrong is a status of gRPC and a sentence, and the next call is as good as any."""
    scripts = iter([script])
    with peer(lambda call: next(scripts, Call.answer)(call)) as served, calling(served.url) as call:
        failed = call()
        assert (failed.status, failed.body) == (expected[0], None)
        assert expected[1] in (failed.error or "")
        assert call() == PONG


def test_secrets_are_not_repeated() -> None:
    """What a server says of a secret that it was told is not said on."""
    credentials = ConnectionCredentials(headers=(("authorization", "tok3n"),), secrets=(("tok3n", "$TOKEN"),))
    refuse = trailers_only(("grpc-status", "16"), ("grpc-message", "tok3n is old"))
    with peer(refuse) as served, calling(served.url, credentials) as call:
        assert call() == Reply(status="UNAUTHENTICATED", error="$TOKEN is old")


def test_nobody_there() -> None:
    """A port where nobody listens is UNAVAILABLE, at once; a host that cannot be has the same name."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"127.0.0.1:{taken.getsockname()[1]}"
    for nobody, word in ((url, "refused"), ("no-such-host.invalid:1", "no-such-host")):
        with calling(nobody) as call:
            failed = call()
            assert failed.status == "UNAVAILABLE"
            assert word in (failed.error or "")


def goes_away(call: Call) -> None:
    """For good, and without what it was just asked."""
    call.send(frame(wire.GOAWAY, 0, 0, struct.pack(">II", call.stream - 2, 0)))
    call.connection.close()


def closes(call: Call) -> None:
    """Once it has answered."""
    call.answer()
    call.connection.flush()
    call.connection.close()


def leaves(call: Call) -> None:
    """Once it has answered, and says so."""
    call.answer()
    call.send(frame(wire.GOAWAY, 0, 0, struct.pack(">II", call.stream, 0)))


refuses = reset(ErrorCodes.REFUSED_STREAM)  # this call, not all others


@pytest.mark.parametrize("script", [refuses, goes_away, closes, leaves])
def test_a_call_that_was_not_begun_is_made_again(script: Callable[[Call], None]) -> None:
    """A server that no longer takes calls on a connection costs none: they go to a new one."""
    scripts, done = iter([Call.answer, script]), list[Call]()

    def follow(call: Call) -> None:
        next(scripts, Call.answer)(call)
        done.append(call)

    with peer(follow) as served, calling(served.url) as call:
        for number in (1, 2, 3):
            assert call() == PONG
            wait_until(lambda n=number: len(done) >= n)  # the server's last word is on its way
        assert len(served.connections) == (1 if script is refuses else 2)


def test_refused_for_good() -> None:
    """A server that refuses a call twice is UNAVAILABLE: nobody asks it without end."""
    with peer(refuses) as served, calling(served.url) as call:
        assert [call().status for _ in range(3)] == ["UNAVAILABLE"] * 3
        assert len(served.calls) == 6


SILENCES = {
    "silent": ({}, True, b"ping"),
    "takes nothing": ({SettingCodes.INITIAL_WINDOW_SIZE: 0}, True, b"ping"),
    "takes some": ({}, False, bytes(200_000)),
}


@pytest.mark.parametrize(("settings", "takes", "body"), SILENCES.values(), ids=SILENCES)
def test_a_deadline_holds(settings: dict[int, int], takes: bool, body: bytes) -> None:
    """A server that is silent, or takes too little, costs the deadline, and is told so."""

    with peer(pass_by, settings=settings, takes=takes) as served, calling(served.url) as call:
        began_s = time.monotonic()
        assert call(body, SOON_S) == Reply(status="DEADLINE_EXCEEDED", error="no answer within 0.3 s")
        assert SOON_S <= time.monotonic() - began_s < SOON_S + 2
        wait_until(lambda: served.calls[0].reset == ErrorCodes.CANCEL)


def test_a_late_answer_is_nobodys() -> None:
    """What comes of a call after its deadline is not taken for a later one's; a slow server keeps its connection."""

    def late(call: Call) -> None:
        if call.stream == 7:
            call.send(b"".join(answer_frames(1)))
            call.answer(message(b"of this call"))

    with peer(late) as served, calling(served.url) as call:
        assert [call(timeout_s=SOON_S).status for _ in range(3)] == ["DEADLINE_EXCEEDED"] * 3
        assert call().body == b"of this call"
        assert len(served.connections) == 1


def test_a_connection_that_is_dead_is_left() -> None:
    """A server that does not even acknowledge settings any more is called on a new connection the next time."""

    def fall_silent(call: Call) -> None:
        call.answer()
        call.connection.flush()
        call.connection.is_deaf = len(call.connection.peer.connections) == 1

    with peer(fall_silent) as served, calling(served.url) as call:
        assert call() == PONG
        assert [call(timeout_s=SOON_S).status for _ in range(2)] == ["DEADLINE_EXCEEDED"] * 2
        assert call() == PONG
        assert len(served.connections) == 2


def test_a_trickle_does_not_move_a_deadline() -> None:
    """A server that says a little now and then is not waited for longer than the deadline."""

    def trickle(call: Call) -> None:
        for _ in range(40):
            call.send(frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)))
            time.sleep(0.05)

    with peer(trickle) as served, calling(served.url) as call:
        began_s = time.monotonic()
        assert call(timeout_s=SOON_S).status == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began_s < SOON_S + 1


def test_a_server_that_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the middle of a frame at the deadline is the end of the connection, not of the calls."""
    monkeypatch.setattr(http2, "_CANCEL_S", 3.0)
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        calling(f"127.0.0.1:{deaf.getsockname()[1]}") as call,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(call, bytes(50_000_000), 1.0)
        with deaf.accept()[0] as accepted:
            window = struct.pack(">HI", SettingCodes.INITIAL_WINDOW_SIZE, 2**31 - 1)
            more = frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30))
            accepted.sendall(frame(wire.SETTINGS, 0, 0, window) + frame(wire.SETTINGS, wire.ACK, 0) + more)
            wait([asked], timeout=2)
            accepted.settimeout(10)
            while said := accepted.recv(2**20):
                last = said
            assert not last.endswith(frame(wire.RST_STREAM, 0, 1, struct.pack(">I", ErrorCodes.CANCEL)))
        assert asked.result().status == "DEADLINE_EXCEEDED"
        again = pool.submit(call, b"ping", SOON_S)
        with deaf.accept()[0]:
            assert again.result().status == "DEADLINE_EXCEEDED"


def test_a_window_may_shrink() -> None:
    """A server that takes less than it said is sent no more until it has room again (RFC 9113, 6.9.2)."""

    def shrink(call: Call) -> None:
        call.send(frame(wire.SETTINGS, 0, 0, struct.pack(">HI", SettingCodes.INITIAL_WINDOW_SIZE, 10)))
        call.connection.h2.increment_flow_control_window(400_000)
        call.connection.h2.increment_flow_control_window(65_530, call.stream)

    body = random.Random(1).randbytes(300_000)
    with peer(on_headers=shrink, takes=False) as served, calling(served.url) as call, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(call, body)
        wait_until(lambda: served.calls and len(served.calls[0].body) == 65_535 + 5)
        time.sleep(0.2)
        assert len(served.calls[0].body) == 65_535 + 5
        (connection,) = served.connections
        connection.h2.increment_flow_control_window(300_000, 1)
        connection.flush()
        assert asked.result() == PONG
        assert served.calls[0].body == message(body)


def test_an_answer_before_the_end_of_a_request() -> None:
    """A server that has seen enough is sent no more of it, and serves the next call on the same connection."""

    def refuse(call: Call) -> None:
        if call.stream == 3:
            trailers_only(("grpc-status", "3"), ("grpc-message", "too large"))(call)

    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 1000}
    with peer(on_headers=refuse, settings=settings, takes=False) as served, calling(served.url) as call:
        assert call(b"") == PONG
        assert call(bytes(1_000_000)) == Reply(status="INVALID_ARGUMENT", error="too large")
        wait_until(lambda: served.calls[1].reset == ErrorCodes.CANCEL)
        assert len(served.calls[1].body) == 1000
        assert call(b"ping") == PONG
        assert len(served.connections) == 1


def test_large_answers_are_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server learns that there is room again before it runs out of it."""
    monkeypatch.setattr(http2, "_WINDOW", 100_000)
    large = message(bytes(15_000))
    with peer(lambda call: call.answer(large)) as served, calling(served.url) as call:
        assert [call().received_bytes for _ in range(30)] == [15_000] * 30
        assert len(served.connections) == 1


def test_each_call_in_flight_has_a_connection() -> None:
    """There are as many connections as there ever were calls in flight, and they are closed at the end."""
    together = threading.Barrier(5, timeout=20)

    def meet(call: Call) -> None:
        if call.body != message(b"alone"):
            together.wait()
        call.answer()

    with peer(meet) as served:
        with calling(served.url) as call, ThreadPoolExecutor(5) as pool:
            assert list(pool.map(call, [b"ping"] * 20)) == [PONG] * 20
            assert call(b"alone") == PONG
            assert len(served.connections) == 5
        wait_until(lambda: all(each.socket.fileno() == -1 for each in served.connections))


def test_noise_is_an_answer_too() -> None:
    """Whatever bytes come back, a call ends with a status, in time."""
    chance = random.Random(0)

    def noise(call: Call) -> None:
        good = bytearray(b"".join(answer_frames(call.stream)))
        for _ in range(chance.randint(0, 4)):
            at = chance.randrange(len(good))
            good[at : at + chance.choice([0, 1, 1, 4])] = chance.randbytes(chance.choice([0, 1, 1, 9]))
        call.send(bytes(good))

    seen = set()
    with peer(noise) as served, calling(served.url) as call:
        for _ in range(200):
            began_s = time.monotonic()
            reply = call(timeout_s=0.05)
            assert time.monotonic() - began_s < 2
            assert reply.status in {code.name for code in StatusCode}
            seen.add(reply.status)
        served.complaints.clear()  # of windows that the noise opened, h2 knows nothing
    assert {"OK", "INTERNAL", "DEADLINE_EXCEEDED"} <= seen


def test_frames_are_no_larger_than_any_can_be() -> None:
    """A server that says it takes frames of which HTTP/2 has none gets those that there are."""

    def boast(call: Call) -> None:
        settings = struct.pack(">HIHI", SettingCodes.MAX_FRAME_SIZE, 2**32 - 1, SettingCodes.INITIAL_WINDOW_SIZE, 2**30)
        call.send(frame(wire.SETTINGS, 0, 0, settings) + frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30)))
        call.answer()

    with peer(boast) as served, calling(served.url) as call:
        assert call() == PONG
        assert call(bytes(2**24)).status == "UNAVAILABLE"  # for h2 did not say so, and hangs up
        assert served.complaints.pop().startswith("FrameTooLargeError")


def test_peer_catches_a_client_that_breaks_the_rules() -> None:
    """The peer is no yes-man: bytes beyond a window are an error."""
    head = block([(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")])
    too_much = b"".join(frame(wire.DATA, 0, 1, bytes(16_384)) for _ in range(5))
    begun = frame(wire.SETTINGS, 0, 0) + frame(wire.HEADERS, wire.END_HEADERS, 1, head)
    with peer(takes=False) as served:
        host, port = served.url.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as rude:
            rude.sendall(wire.PREFACE + begun + too_much)
            while rude.recv(2**16):
                pass
        (complaint,) = served.complaints
        assert complaint.startswith("FlowControlError")
        served.complaints.clear()


def test_connections_are_there_before_the_first_call() -> None:
    """What a call at once with others would have to open is open before, so that no call waits for a handshake."""
    with peer() as served, closing(UnaryCalls(served.url, NO_CREDENTIALS)) as connections:
        connections.prepare(3, timeout_s=20)
        connections.prepare(2, timeout_s=20)
        assert (len(served.connections), len(served.calls)) == (3, 0)
        assert connections.method(PATH)(b"ping", 20) == PONG
        assert len(served.connections) == 3


def test_prepare_leaves_failures_to_the_calls() -> None:
    """A server that is not there is no error before a call says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"127.0.0.1:{taken.getsockname()[1]}"
    with closing(UnaryCalls(url, NO_CREDENTIALS)) as connections:
        connections.prepare(3, timeout_s=20)
        assert connections.method(PATH)(b"ping", 20).status == "UNAVAILABLE"
