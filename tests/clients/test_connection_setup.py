"""Setting up connections: beyond the deadline of a call, to hosts with dead addresses, and where none is to be had."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from http2_calls import PONG, SETTLED, answer_frames, calling, raw_server
from http2_peer import peer

from raybench.clients.grpc import connection_setup
from raybench.clients.grpc.happy_eyeballs import addresses_of

SHORT_S, SLOW_S = 0.1, 0.4


def test_a_set_up_outlives_its_call() -> None:
    """A call whose deadline passes while its connection is set up fails in time, and the next one has the connection:
    else a path whose set-up takes longer than the deadline would fail for ever."""
    accepted = []

    def slow(connection: socket.socket) -> None:
        accepted.append(connection)
        time.sleep(SLOW_S)
        connection.sendall(SETTLED)
        stream, said = 1, b""
        while more := connection.recv(2**16):
            said += more
            if said.endswith(b"ping"):
                connection.sendall(b"".join(answer_frames(stream)))
                stream, said = stream + 2, b""

    with raw_server(slow) as url, calling(url) as call:
        began_s = time.monotonic()
        assert call(timeout_s=SHORT_S).status == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began_s < SHORT_S + 0.25
        time.sleep(SLOW_S)
        assert [call(timeout_s=SHORT_S) for _ in range(2)] == [PONG] * 2
        assert len(accepted) == 1


def test_a_lane_without_a_connection_says_so() -> None:
    """Where a proxy takes no more connections, the sentence says that none was had, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as busy, calling(f"127.0.0.1:{busy.getsockname()[1]}") as call:
        reply = call(timeout_s=SHORT_S)
    assert reply.status == "DEADLINE_EXCEEDED"
    assert reply.error == (
        "no answer within 0.1 s: it takes a connection, but sends no HTTP/2 settings on it; "
        "a server or proxy that limits connections does this: use fewer lanes, or raise its limit"
    )


def test_a_set_up_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is never there fails a patient call at the limit of a set-up, and the next call asks again."""
    monkeypatch.setattr(connection_setup, "SETUP_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as busy, calling(f"127.0.0.1:{busy.getsockname()[1]}") as call:
        for _ in range(2):
            began_s = time.monotonic()
            reply = call(timeout_s=20)
            assert time.monotonic() - began_s < 2
            assert reply.status == "UNAVAILABLE"
            assert "no connection within 0.2 s: it takes a connection" in (reply.error or "")


def test_a_set_up_ends_with_its_pool() -> None:
    """Nothing goes on in the background once a client is closed."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        with calling(f"127.0.0.1:{busy.getsockname()[1]}") as call:
            call(timeout_s=SHORT_S)
        until_s = time.monotonic() + 5
        while any(each.name == "connection set-up" for each in threading.enumerate()):
            assert time.monotonic() < until_s
            time.sleep(0.01)


@contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """An address at which connections are neither accepted nor refused: its queue is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
        time.sleep(0.05)
        yield listening.getsockname()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, tuple]) -> None:
    found = [(family, socket.SOCK_STREAM, 6, "", address) for family, address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)


def test_a_dead_address_costs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first address of a host is dead, by silence or by refusal, the next one serves the call soon."""
    with black_hole() as hole, socket.create_server(("127.0.0.1", 0)) as gone, peer() as served:
        refusing = gone.getsockname()
        gone.close()
        alive = served.listening.getsockname()
        resolve_to(monkeypatch, *((socket.AF_INET, each) for each in (hole, refusing, hole, alive)))
        with calling("two.example:1") as call:
            began_s = time.monotonic()
            assert call(timeout_s=5.0) == PONG
            assert time.monotonic() - began_s < 2


def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses are tried IPv6 and IPv4 in turn, so that a host without one of them loses a quarter of a second."""
    six, four = socket.AF_INET6, socket.AF_INET
    given: list[tuple[int, Any]] = [(six, ("a", 1)), (six, ("b", 1)), (six, ("c", 1)), (four, ("d", 1))]
    resolve_to(monkeypatch, *given)
    assert [address for _, (address, _) in addresses_of("two.example", 1)] == ["a", "d", "b", "c"]


def test_the_first_error_is_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no address accepts, the preferred one's reason is given."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refusing = gone.getsockname()
    resolve_to(monkeypatch, (socket.AF_INET, refusing), (socket.AF_INET, ("255.255.255.255", 1)))
    with calling("two.example:1") as call, closing(socket.socket()):
        assert call().error == "two.example:1: Connection refused"
