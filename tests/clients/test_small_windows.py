"""Servers that make room in small steps, as proxies do: the client writes when it is worth it, and never stalls."""

import socket
import struct
import time

import pytest
from http2_calls import PONG, SETTLED, answer_frames, calling, raw_server
from http2_peer import message

from raybench.clients.grpc import http2_frames as wire
from raybench.clients.grpc.deadline_socket import DeadlineSocket
from raybench.clients.grpc.http2_frames import frame

BODY = bytes(4_000_000)
LENGTH = len(message(BODY))


def room(size: int) -> bytes:
    return b"".join(frame(wire.WINDOW_UPDATE, 0, stream, struct.pack(">I", size)) for stream in (0, 1))


def takes_in_steps(step: int, pause_s: float) -> list[int]:
    """What a client sends at a time to a server that makes room in such steps as soon as it has read so much."""
    sizes = []
    send = DeadlineSocket.send

    def counted(self: DeadlineSocket, out: list[bytes | memoryview]) -> None:
        sizes.append(sum(map(len, out)))
        send(self, out)

    def take(connection: socket.socket) -> None:
        connection.sendall(SETTLED)
        read, given = 0, 0
        while read < LENGTH and (said := connection.recv(step)):
            read += len(said)
            while read - given >= step:
                given += step
                connection.sendall(room(step))
                if pause_s:
                    time.sleep(pause_s)
        connection.sendall(b"".join(answer_frames(1)))
        connection.recv(2**16)

    with pytest.MonkeyPatch.context() as patch, raw_server(take) as url, calling(url) as call:
        patch.setattr(DeadlineSocket, "send", counted)
        assert call(BODY) == PONG
    return sizes


def test_room_in_small_steps_is_collected() -> None:
    """A proxy that makes room for 4 KiB at a time does not cost a write for each."""
    assert len(takes_in_steps(4096, pause_s=0)) < LENGTH / 4096 / 2


def test_slow_room_is_used_at_once() -> None:
    """Room that comes in slow steps is used step by step: the client does not wait until it is worth more."""
    assert len(takes_in_steps(8000, pause_s=0.003)) > LENGTH / 8000 / 4
