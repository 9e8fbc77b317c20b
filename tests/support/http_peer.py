"""An HTTP/1.1 server of scripted bytes, for what a real one does too rarely to be tested."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Serve = Callable[[socket.socket, int], None]  # one connection, and its number


def answer(content: bytes, *fields: str, status: str = "200 OK") -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *fields))
    return head.encode() + b"\r\n" + content


def read_request(connection: socket.socket) -> bytes:
    """One request with its content; empty where the client has closed the connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (said := connection.recv(2**16)):
            return b""
        received += said
    head, _, content = received.partition(b"\r\n\r\n")
    sizes = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(content) < int(sizes[0]):
        content += connection.recv(2**16)
    return head + b"\r\n\r\n" + content


@contextmanager
def http_peer(serve: Serve) -> Iterator[str]:
    """HOST:PORT where each connection is served by `serve` in a thread of its own, and then closed."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, serve), daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, serve: Serve) -> None:
    number = 0
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve, args=(connection, serve, number), daemon=True).start()
            number += 1


def _serve(connection: socket.socket, serve: Serve, number: int) -> None:
    with connection, suppress(OSError):
        serve(connection, number)
