"""A server that speaks HTTP/2 by h2, which holds its client to the RFC, and answers as a test says."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, PingAckReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import Settings

HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]


def message(body: bytes, is_compressed: bool = False) -> bytes:
    """A message as gRPC frames it."""
    return bytes([is_compressed]) + len(body).to_bytes(4, "big") + body


@dataclass
class Call:
    """One request, as far as it has come, and how to answer it."""

    connection: "Served"
    stream: int
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)
    reset: int | None = None

    def answer(self, body: bytes = message(b"pong"), trailers: list[tuple[str, str]] = OK) -> None:
        h2 = self.connection.h2
        h2.send_headers(self.stream, HEADERS)
        h2.send_data(self.stream, body)
        h2.send_headers(self.stream, trailers, end_stream=True)

    def send(self, raw: bytes) -> None:
        """Bytes of our own after what h2 has to say."""
        self.connection.flush()
        self.connection.socket.sendall(raw)


Script = Callable[[Call], None]


@dataclass
class Served:
    """A connection of the client's; `on_headers` is told of a call when it begins, `on_end` when it is there whole."""

    peer: "Peer"
    socket: socket.socket
    h2: H2Connection = field(
        default_factory=lambda: H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    )
    calls: dict[int, Call] = field(default_factory=dict)
    is_deaf: bool = False

    def serve(self) -> None:
        try:
            self.h2.local_settings = Settings(client=False, initial_values=dict(self.peer.settings))
            self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
            self.h2.initiate_connection()
            self.flush()
            while said := self.socket.recv(2**16):
                if self.is_deaf:
                    continue
                for event in self.h2.receive_data(said):
                    self._react(event)
                self.flush()
        except ProtocolError as error:
            self.peer.complaints.append(repr(error))
        except OSError:
            pass
        finally:
            self.close()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def close(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _react(self, event: object) -> None:
        if isinstance(event, RequestReceived):
            call = self.calls[event.stream_id] = Call(self, event.stream_id, list(event.headers))
            self.peer.calls.append(call)
            self.peer.on_headers(call)
        elif isinstance(event, DataReceived):
            self.calls[event.stream_id].body += event.data
            if self.peer.takes and event.flow_controlled_length:
                for stream in (None, event.stream_id):
                    self.h2.increment_flow_control_window(event.flow_controlled_length, stream)
        elif isinstance(event, StreamEnded):
            call = self.calls[event.stream_id]
            self.peer.on_end(call)
        elif isinstance(event, StreamReset):
            self.calls[event.stream_id].reset = event.error_code
        elif isinstance(event, PingAckReceived):
            self.peer.pongs.append(event.ping_data)


@dataclass
class Peer:
    """What is served, and what was seen; without `takes` the client's bytes are never said to be taken."""

    listening: socket.socket
    on_end: Script
    on_headers: Script
    settings: Mapping[int, int]
    takes: bool
    calls: list[Call] = field(default_factory=list)
    connections: list[Served] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.listening.getsockname()[1]}"

    def accept(self, tls: ssl.SSLContext | None) -> None:
        while self.listening.fileno() != -1:
            with suppress(OSError):  # it is closed at the end, and a client may have left already
                opened, _ = self.listening.accept()
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opened = tls.wrap_socket(opened, server_side=True) if tls else opened
                self.connections.append(Served(self, opened))
                threading.Thread(target=self.connections[-1].serve, daemon=True).start()


def pass_by(call: Call) -> None:
    """A call of which nothing is said yet."""


@contextmanager
def peer(
    on_end: Script = Call.answer,
    *,
    on_headers: Script = pass_by,
    settings: Mapping[int, int] | None = None,
    takes: bool = True,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Peer]:
    """A peer on the loopback. At its end nothing may have come that HTTP/2 forbids."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = Peer(listening, on_end, on_headers, settings or {}, takes)
        threading.Thread(target=serving.accept, args=(tls,), daemon=True).start()
        yield serving
    for each in serving.connections:
        each.close()
    assert serving.complaints == []
