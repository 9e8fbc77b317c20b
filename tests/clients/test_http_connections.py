"""HTTP/1.1 connections: kept, bounded by deadlines, and never a request twice."""

import socket
import ssl
import time
from contextlib import closing
from pathlib import Path

import pytest
from certificates import Authority
from http_peer import Serve, answer, http_peer, read_request

from raybench.clients.base import Reply
from raybench.clients.grpc.connection_credentials import ConnectionCredentials, Tls
from raybench.clients.http.connections import HttpConnections, message

REQUEST = message(b"hello", "text/plain", {"X-Own": "1"})
SECRET = ConnectionCredentials(headers=(("authorization", "Bearer s3cret"),), secrets=(("s3cret", "$TOKEN"),))
_SLACK_S = 0.35


def replies(serve: Serve, *, calls: int = 1, timeout_s: float = 5.0, between_s: float = 0.0) -> list[Reply]:
    """What calls one after the other get from a peer."""
    with http_peer(serve) as url, closing(HttpConnections(url, SECRET)) as connections:
        send, found = connections.method("/v2/models/a/infer"), []
        for _ in range(calls):
            found.append(send(REQUEST, timeout_s))
            time.sleep(between_s)
        return found


def echoing(connection: socket.socket, number: int) -> None:
    while request := read_request(connection):
        connection.sendall(answer(b"%d " % number + request))


def test_one_connection_serves_call_after_call() -> None:
    """A lane keeps its connection: each call has the path, the host, the headers and its own content."""
    first, second = replies(echoing, calls=2)
    assert first.body.content == second.body.content
    number, _, request = first.body.content.partition(b" ")
    assert number == b"0"
    assert request.startswith(b"POST /v2/models/a/infer HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nauthorization: Bearer s3cret\r\n" in request
    assert request.endswith(b"\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nX-Own: 1\r\n\r\nhello")
    assert first.received_bytes == len(first.body.content)


@pytest.mark.parametrize("fields", [(), ("Connection: close",)], ids=["unannounced", "announced"])
def test_a_connection_that_the_server_closed_is_not_used(fields: tuple[str, ...]) -> None:
    """A server that closes idle connections costs no request."""

    def once(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer(b"%d" % number, *fields))

    found = replies(once, calls=3, between_s=0.1)
    assert [reply.body.content for reply in found] == [b"0", b"1", b"2"]


def test_a_request_is_never_sent_twice() -> None:
    """A server that hangs up in the middle of a call may have computed: the call has failed, and no other is made."""
    seen = []

    def hang_up(connection: socket.socket, number: int) -> None:
        if number == 0:
            read_request(connection)
            connection.sendall(answer(b"ok"))
        seen.append(read_request(connection))

    first, second = replies(hang_up, calls=2)
    assert first.is_ok
    assert second.status == "UNAVAILABLE"
    assert len(seen) == 1


def test_half_an_answer_is_none() -> None:
    """A connection that ends within an answer fails the call."""

    def halve(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(answer(b"x" * 100)[:-1])

    (reply,) = replies(halve)
    assert reply.status == "UNAVAILABLE"
    assert "ended within the answer" in (reply.error or "")


def _silent(connection: socket.socket, _: int) -> None:
    connection.recv(1)
    time.sleep(2)


def _dripping(connection: socket.socket, _: int) -> None:
    read_request(connection)
    for byte in answer(b"x" * 100):
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def _unread(connection: socket.socket, _: int) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    time.sleep(2)


@pytest.mark.parametrize("serve", [_silent, _dripping, _unread])
def test_every_call_ends_at_its_deadline(serve: Serve) -> None:
    """A server that says nothing, a byte now and then, or reads nothing, holds a lane up to the deadline alone."""
    with http_peer(serve) as url, closing(HttpConnections(url, SECRET)) as connections:
        request = message(bytes(2**25 if serve is _unread else 5), "text/plain")
        began_s = time.perf_counter()
        reply = connections.method("/")(request, 0.3)
        took_s = time.perf_counter() - began_s
    assert (reply.status, reply.error) == ("DEADLINE_EXCEEDED", "no answer within 0.3 s")
    assert 0.3 <= took_s < 0.3 + _SLACK_S


def test_a_refusal_that_comes_early_is_read() -> None:
    """Who refuses a request while it still comes, and closes, is heard: the sentence counts, not the broken pipe."""

    def refuse(connection: socket.socket, _: int) -> None:
        connection.recv(100)
        connection.sendall(answer(b'{"error": "too large"}', "Connection: close", status="413 Content Too Large"))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(2**20):  # else the kernel resets the connection, and with it what was said
            pass

    with http_peer(refuse) as url, closing(HttpConnections(url, SECRET)) as connections:
        reply = connections.method("/")(message(bytes(2**24), "text/plain"), 5.0)
    assert (reply.status, reply.error) == ("RESOURCE_EXHAUSTED", "too large")


@pytest.mark.parametrize(
    ("status", "content", "expected", "sentence"),
    [
        ("400 Bad Request", b'{"error": "wrong shape"}', "INVALID_ARGUMENT", "wrong shape"),
        ("404 Not Found", b'{"error": "no model"}', "NOT_FOUND", "no model"),
        ("503 Busy", b"queue\n full", "UNAVAILABLE", "queue full"),
        ("502 Bad Gateway", b"<html>nginx</html>", "UNAVAILABLE", "HTTP status 502 Bad Gateway"),
        ("500 Oops", b"", "INTERNAL", "HTTP status 500 Oops"),
        ("401 Who", b'{"error": "s3cret is no key"}', "UNAUTHENTICATED", "$TOKEN is no key"),
        ("418 Teapot", b'{"error": ["no text"]}', "UNKNOWN", '{"error": ["no text"]}'),
        ("204 Nothing", b"", "UNKNOWN", "HTTP status 204 Nothing"),
    ],
)
def test_failures_have_the_names_of_grpc(status: str, content: bytes, expected: str, sentence: str) -> None:
    """HTTP statuses become gRPC's names, with the server's sentence, and without our secrets."""

    def refuse(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(answer(content, status=status))

    (reply,) = replies(refuse)
    assert (reply.status, reply.error) == (expected, sentence)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x50"])
def test_what_is_no_http_is_a_value(said: bytes) -> None:
    """A server of another kind fails the call with a sentence; nothing is raised."""

    def speak(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(said)

    (reply,) = replies(speak)
    assert reply.status == "INTERNAL"
    assert (reply.error or "").startswith("the server does not speak HTTP/1.1")


@pytest.mark.parametrize("url", ["127.0.0.1:1", "nowhere.invalid:80", "a..b:1"])
def test_a_server_that_is_not_there_is_unavailable(url: str) -> None:
    """A port that nobody listens on, or a name that no host has, fails the call; nothing is raised."""
    with closing(HttpConnections(f"http://{url}", SECRET)) as connections:
        connections.prepare(1, 1.0)
        assert connections.method("/")(REQUEST, 2.0).status == "UNAVAILABLE"


def test_tls_is_checked(tmp_path: Path) -> None:
    """Over TLS a server whose certificate its authority has signed is believed, and no other."""
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    signed = authority.signed("server", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)

    def encrypted(connection: socket.socket, number: int) -> None:
        with context.wrap_socket(connection, server_side=True) as opened:
            echoing(opened, number)

    found = []
    for trusted in (authority, other):
        credentials = ConnectionCredentials(tls=Tls(ca=trusted.certificate.read_bytes()))
        with http_peer(encrypted) as url, closing(HttpConnections(f"https://{url}", credentials)) as connections:
            found.append(connections.method("/")(message(bytes(2**20), "text/plain"), 5.0))
    assert [reply.status for reply in found] == ["OK", "UNAVAILABLE"]
    assert "certificate" in (found[1].error or "").lower()
