"""Does the client survive whatever a server sends? Mutated bytes of HTTP/2, floods and bombs against it.

    python tests/interop/fuzz.py [--cases 3600] [--seed 0]

Each case is a server that sends an answer with some bytes flipped, cut off, repeated, moved or made up, in pieces, and
then hangs up, resets the connection or falls silent; every 60th is a flood or a bomb. Two calls with a short deadline
follow one another. Prints exceptions, of which there may be none, the worst time beyond a deadline (at most 0.35 s, and
1 s for floods) and the growth of memory (at most 64 MiB). Exits 1 where one of them is exceeded.
"""

import argparse
import random
import socket
import struct
import sys
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))
from http2_calls import PATH, SETTLED, answer_frames, block, peak_memory_bytes, raw_server, reset_connection
from http2_peer import HEADERS, OK, message

from raybench.clients.grpc import http2_frames as wire
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS
from raybench.clients.grpc.http2_frames import frame
from raybench.clients.grpc.unary import UnaryCalls

DEADLINE_S = 0.06
MOST_LATE_S, MOST_LATE_IN_FLOOD_S, MOST_BYTES = 0.35, 1.0, 64 * 2**20
FLOOD_EVERY, LANES = 60, 4
INTERESTING = (b"", b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"HTTP/1.1 200 OK\r\n\r\n", b"\x15\x03\x01")


def valid_answers() -> list[list[bytes]]:
    """What a server may send for its first call, as frames."""
    head, data, end = answer_frames(1)
    gzipped = block([*HEADERS, ("grpc-encoding", "deflate")])
    return [
        [head, data, end],
        [frame(wire.HEADERS, 5, 1, block([*HEADERS, ("grpc-status", "8"), ("grpc-message", "a%20b")]))],
        [frame(wire.HEADERS, 4, 1, block([(":status", "103")])), head, data, end],
        [head, frame(wire.DATA, wire.PADDED, 1, bytes([3]) + message(b"pong") + bytes(3)), end],
        [head, frame(wire.DATA, 0, 1, message(bytes(20_000))), end],
        [frame(wire.HEADERS, 4, 1, gzipped), frame(wire.DATA, 0, 1, message(zlib.compress(b"pong"), True)), end],
        [frame(wire.HEADERS, 0, 1, block(HEADERS)), frame(wire.CONTINUATION, 4, 1, block(OK)), data, end],
        [frame(wire.GOAWAY, 0, 0, struct.pack(">II", 1, 11) + b"calm"), head, data, end],
        [head, frame(wire.RST_STREAM, 0, 1, struct.pack(">I", 7)), end],
        [frame(wire.PING, 0, 0, b"12345678"), frame(wire.WINDOW_UPDATE, 0, 1, b"\0\0\1\0"), head, data, end],
    ]


def mutated(chance: random.Random) -> bytes:
    """All that a server sends on a connection."""
    frames = [*chance.choice(valid_answers())]
    for _ in range(chance.choice((0, 0, 1, 2))):
        at = chance.randrange(len(frames))
        change = chance.randrange(5)
        if change == 0:
            kind, flags, stream = chance.randrange(12), chance.randrange(256), chance.choice((0, 1, 3))
            frames.insert(at, frame(kind, flags, stream, chance.randbytes(9)))
        elif change == 1:
            frames.insert(at, frames[chance.randrange(len(frames))])
        elif change == 2:
            chance.shuffle(frames)
        elif change == 3:
            frames[at] = frames[at][:3] + bytes([chance.randrange(12), chance.randrange(256)]) + frames[at][5:]
        else:
            frames[at] = frame(wire.HEADERS, 5, 1, chance.randbytes(chance.choice((5, 50, 500))))
    said = bytearray(b"".join([SETTLED, *frames]))
    for _ in range(chance.choice((0, 0, 1, 1, 3, 10))):
        at = chance.randrange(len(said))
        said[at : at + chance.choice((0, 1, 1, 4))] = chance.choice((*INTERESTING, chance.randbytes(1)))
    return bytes(said[: chance.randrange(len(said))] if chance.random() < 0.2 else said)


def sends(chance: random.Random) -> Callable[[socket.socket], None]:
    """A server that sends mutated bytes, at once or when something has come, and then ends in one of three ways."""
    said, pieces, end = mutated(chance), chance.choice((1, 1, 2, 7)), chance.randrange(3)
    is_early = chance.random() < 0.3

    def script(connection: socket.socket) -> None:
        connection.sendall(SETTLED if not is_early else b"")
        while not is_early and not connection.recv(2**16).endswith(b"ping"):
            pass
        size = -(-len(said) // pieces)
        for first in range(0, len(said), size or 1):
            connection.sendall(said[first : first + size])
            time.sleep(0.001 * (pieces > 1))
        if end == 0:
            connection.close()
        elif end == 1:
            reset_connection(connection)
        else:
            connection.recv(2**16)

    return script


def floods() -> list[bytes]:
    """What a server may send again and again, or once where it is a bomb."""
    *_, end = answer_frames(1)
    table = b"\x40\x01x\x7f\xa0\x1e" + b"y" * 3999 + b"\xbe" * 50_000
    zipped = zlib.compress(bytes(2**28), 9)
    gzipped = frame(wire.HEADERS, 4, 1, block([*HEADERS, ("grpc-encoding", "deflate")]))
    return [
        frame(wire.CONTINUATION, 0, 1, b"x"),
        frame(wire.CONTINUATION, 0, 1),
        frame(wire.HEADERS, 0, 1, b"x" * 1000),
        frame(wire.HEADERS, 4, 1, block([(":status", "103")])),
        frame(wire.PING, 0, 0, bytes(8)),
        frame(wire.SETTINGS, 0, 0),
        frame(wire.SETTINGS, 0, 0, struct.pack(">HI", 4, 1) * 2000),
        frame(wire.DATA, 0, 1),
        frame(wire.DATA, wire.PADDED, 1, b"\xff" + bytes(255)),
        frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)),
        frame(wire.GOAWAY, 0, 0, struct.pack(">II", 1, 0) + bytes(5000)),
        frame(wire.RST_STREAM, 0, 9, bytes(4)),
        frame(0xBE, 0, 0, bytes(2**16)),
        frame(wire.HEADERS, 5, 1, table[: 2**16]),
        frame(wire.HEADERS, 5, 1, b"\0" + b"\x7f" + b"\xff" * 60_000),
        frame(wire.HEADERS, 5, 1, block([*HEADERS, ("grpc-status", "9" * 50_000)])),
        gzipped + b"".join(frame(wire.DATA, 0, 1, part) for part in _parts(message(zipped, True))) + end,
    ]


def _parts(body: bytes) -> list[bytes]:
    return [body[first : first + 60_000] for first in range(0, len(body), 60_000)]


def repeats(unit: bytes) -> Callable[[socket.socket], None]:
    """A server that floods the call as soon as it has come."""

    def script(connection: socket.socket) -> None:
        connection.sendall(SETTLED)
        while not connection.recv(2**16).endswith(b"ping"):
            pass
        while True:
            connection.sendall(unit * (1 + 2**16 // len(unit)))

    return script


@dataclass
class Findings:
    """What went wrong, if anything, and how close it was."""

    exceptions: list[str] = field(default_factory=list)
    late_s: float = 0.0
    late_in_flood_s: float = 0.0
    grown_bytes: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def is_fine(self) -> bool:
        is_in_time = self.late_s <= MOST_LATE_S and self.late_in_flood_s <= MOST_LATE_IN_FLOOD_S
        return not self.exceptions and is_in_time and self.grown_bytes <= MOST_BYTES

    def __str__(self) -> str:
        lines = [*self.exceptions, f"statuses: {dict(self.statuses)}", f"exceptions: {len(self.exceptions)}"]
        lines += [f"worst time beyond the deadline: {self.late_s:.3f} s, of a flood {self.late_in_flood_s:.3f} s"]
        return "\n".join([*lines, f"growth of memory: {self.grown_bytes / 2**20:.1f} MiB"])


def _two_calls(script: Callable[[socket.socket], None], findings: Findings) -> float:
    """The worst time of two calls beyond their deadline."""
    late_s = 0.0
    with raw_server(script) as url, closing(UnaryCalls(url, NO_CREDENTIALS)) as calls:
        send = calls.method(PATH)
        for _ in range(2):
            began_s = time.perf_counter()
            try:
                findings.statuses[send(b"ping", DEADLINE_S).status] += 1
            except BaseException:
                findings.exceptions.append(traceback.format_exc())
            late_s = max(late_s, time.perf_counter() - began_s - DEADLINE_S)
    return late_s


def fuzz(cases: int, seed: int) -> Findings:
    """Run so many cases: the floods one after the other, for their memory, and the others on a few lanes."""
    findings, lock = Findings(), threading.Lock()

    def case(number: int) -> None:
        late_s = _two_calls(sends(random.Random(f"{seed} {number}")), findings)
        if late_s > MOST_LATE_S:  # the host may have stood still: what the client is to blame for happens again
            late_s = min(late_s, _two_calls(sends(random.Random(f"{seed} {number}")), findings))
        with lock:
            findings.late_s = max(findings.late_s, late_s)

    flooding = cases // FLOOD_EVERY
    units = [*islice(cycle(floods()), flooding)]
    before = peak_memory_bytes(restart=True)
    for unit in units:
        findings.late_in_flood_s = max(findings.late_in_flood_s, _two_calls(repeats(unit), findings))
    with ThreadPoolExecutor(LANES) as pool:
        list(pool.map(case, range(cases - flooding)))
    findings.grown_bytes = peak_memory_bytes() - before
    return findings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    findings = fuzz(options.cases, options.seed)
    print(findings)
    sys.exit(not findings.is_fine)


if __name__ == "__main__":
    main()
