"""Calls by our client, the frames of answers, and a server that sends whatever bytes a test wants."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from h2.errors import ErrorCodes
from hpack import Encoder
from http2_peer import HEADERS, OK, Call, message

from raybench.clients.base import Reply
from raybench.clients.grpc import http2_frames as wire
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.grpc.http2_frames import frame
from raybench.clients.grpc.unary import UnaryCalls

PATH = "/a.Service/Method"
PONG = Reply(status="OK", body=b"pong", received_bytes=4)
SETTLED = frame(wire.SETTINGS, 0, 0) + frame(wire.SETTINGS, wire.ACK, 0)


@contextmanager
def calling(url: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> Iterator[Callable[..., Reply]]:
    """Calls of one method at a url."""
    with closing(UnaryCalls(url, credentials)) as calls:
        method = calls.method(PATH)
        yield lambda body=b"ping", timeout_s=20.0: method(body, timeout_s)


def block(fields: list[tuple[str, str]], huffman: bool = True) -> bytes:
    """Headers by an encoder that keeps no table, as the client wants it."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields, huffman=huffman)


def answer_frames(stream: int) -> list[bytes]:
    """The frames of the plainest answer."""
    return [
        frame(wire.HEADERS, wire.END_HEADERS, stream, block(HEADERS)),
        frame(wire.DATA, 0, stream, message(b"pong")),
        frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, stream, block(OK)),
    ]


def raw(kind: int, flags: int, payload: bytes) -> Callable[[Call], None]:
    return lambda call: call.send(frame(kind, flags, call.stream, payload))


def trailers_only(*fields: tuple[str, str], status: str = "200") -> Callable[[Call], None]:
    headers = [(":status", status), *HEADERS[1:], *fields]
    return lambda call: call.connection.h2.send_headers(call.stream, headers, end_stream=True)


def http_status(status: str) -> Callable[[Call], None]:
    return lambda call: call.connection.h2.send_headers(call.stream, [(":status", status)], end_stream=True)


def reset(code: ErrorCodes) -> Callable[[Call], None]:
    return lambda call: call.connection.h2.reset_stream(call.stream, code)


@contextmanager
def raw_server(*scripts: Callable[[socket.socket], None]) -> Iterator[str]:
    """The url of a server that serves connection n by script n, and all further ones by the last script."""
    opened: list[socket.socket] = []

    def serve(connection: socket.socket, script: Callable[[socket.socket], None]) -> None:
        with suppress(OSError):
            script(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                opened.append(listening.accept()[0])
                script = scripts[min(len(opened), len(scripts)) - 1]
                threading.Thread(target=serve, args=(opened[-1], script), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            for each in opened:
                each.close()


def await_request(connection: socket.socket, end: bytes = b"ping") -> None:
    """Settle a connection, and read up to the end of a request."""
    connection.sendall(SETTLED)
    said = b""
    while not said.endswith(end):
        if not (more := connection.recv(2**16)):
            raise ConnectionError
        said = said[-20:] + more


def reset_connection(connection: socket.socket) -> None:
    """Close it so that the client's next write fails."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def peak_memory_bytes(restart: bool = False) -> int:
    """The most memory of this process since the last restart of the count: proc(5), clear_refs and VmHWM."""
    if restart:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
