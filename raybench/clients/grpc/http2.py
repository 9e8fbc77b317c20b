"""HTTP/2 (RFC 9113) for one call at a time on a connection: a request leaves from where its bytes lie."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 0x01
END_HEADERS, PADDED, PRIORITY = 0x04, 0x08, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 4, 5
REFUSED_STREAM, CANCEL = 7, 8

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FIRST_WINDOW, FIRST_FRAME_SIZE = 65_535, 16_384  # until the other side says otherwise (RFC 9113, 6.5.2)
_HEAD = struct.Struct(">HBBBI")  # 24 bits of length, type, flags, stream
_SETTING = struct.Struct(">HI")
_U32 = struct.Struct(">I")
_MOST = 2**31 - 1
_WINDOW = _MOST  # of answers, and of each
_LARGEST_FRAME = 2**24 - 1
_FRAME_SIZE = 2**22  # of the frames that we take
_READ_BYTES = 2**16
_BUFFERS = 1000  # of one sendmsg(2): IOV_MAX is 1024
_CANCEL_S = 0.1

Bytes = bytes | memoryview


class Answer(NamedTuple):
    """What came back on a stream: HPACK blocks, the first of headers and the last of trailers, and the body."""

    blocks: list[bytes]
    body: bytearray


class ProtocolError(Exception):
    """What the server sends is not HTTP/2."""


class StreamReset(Exception):
    """The server ended a call with an error code of HTTP/2 (RFC 9113, 7)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server reset the stream with HTTP/2 error {code}")
        self.code = code


class Unprocessed(ConnectionError):
    """The server has not begun with a request, which may be sent again on another connection (RFC 9113, 8.7)."""


class Connection:
    """A connection to a server, for one call after the other.

    The server is told to keep no table of headers, so that a block of them means the same on every connection, and to
    send an answer of any size at once. Deadlines are seconds of time.perf_counter(). Raises OSError where the
    connection breaks, TimeoutError at a deadline, and ProtocolError.
    """

    def __init__(self, opened: socket.socket, deadline_s: float) -> None:
        self._socket, self._deadline_s = opened, deadline_s
        self._received = bytearray()
        self._stream = -1
        self._window = self._first_window = FIRST_WINDOW  # what the server takes, of all streams and of a new one
        self._stream_window = 0
        self._frame_size = FIRST_FRAME_SIZE
        self._taken = 0  # bytes of answers, of which the server does not know yet that there is room again
        self._answer, self._has_ended = Answer([], bytearray()), True
        self._block, self._is_last_block = bytearray(), False
        self._reset: int | None = None
        self._is_idle, self._is_spent = True, False
        self._is_settled, self._unacknowledged = False, 1  # by the server's settings; of ours
        asked = {HEADER_TABLE_SIZE: 0, ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: _WINDOW, MAX_FRAME_SIZE: _FRAME_SIZE}
        settings = b"".join(_SETTING.pack(*each) for each in asked.items())
        window = frame(WINDOW_UPDATE, 0, 0, _U32.pack(_WINDOW - FIRST_WINDOW))
        self._write([PREFACE + frame(SETTINGS, 0, 0, settings) + window])
        while not self._is_settled:  # what the server takes comes before all else (RFC 9113, 3.4)
            self._take_in()

    @property
    def is_reusable(self) -> bool:
        """Whether another call may follow the last one."""
        return self._is_idle and not self._is_spent and self._stream < _MOST - 2

    def exchange(self, block: bytes, *pieces: Bytes, deadline_s: float) -> Answer:
        """Send a block of headers and a body in pieces, and take the answer; raises StreamReset and Unprocessed too."""
        self._deadline_s, self._is_idle = deadline_s, False
        try:
            self._hear()
        except OSError as error:
            raise Unprocessed(str(error)) from error
        self._stream += 2
        self._stream_window = self._first_window
        self._answer, self._has_ended, self._reset = Answer([], bytearray()), False, None
        self._block.clear()
        try:
            self._send(block, [memoryview(piece) for piece in pieces])
            while not self._has_ended:
                self._take_in()
        except TimeoutError:
            self._cancel()
            raise
        self._is_idle = True
        return self._outcome()

    def close(self) -> None:
        self._socket.close()

    def _send(self, block: bytes, pieces: list[memoryview]) -> None:
        """A request, as fast as the server takes it; given up where the answer is there before."""
        out: list[Bytes] = [*_header_frames(self._stream, block, self._frame_size)]
        left = sum(map(len, pieces))
        while left:
            size = min(left, self._window, self._stream_window, self._frame_size)
            if size <= 0:
                self._write(out)
                self._take_in()
                if self._has_ended:
                    self._cancel()
                    return
                continue
            left -= size
            self._window -= size
            self._stream_window -= size
            out += [_head(DATA, 0 if left else END_STREAM, self._stream, size), *_cut(pieces, size)]
        self._write(out)

    def _outcome(self) -> Answer:
        if self._reset is None:
            return self._answer
        if self._reset != REFUSED_STREAM:
            raise StreamReset(self._reset)
        self._is_spent = True
        raise Unprocessed("the server takes no more calls on this connection")

    def _cancel(self) -> None:
        """Tell the server not to go on with a call; what it sends of it meanwhile is let pass.

        Whether it still listens shows by the next time: it must acknowledge settings (RFC 9113, 6.5.3). Servers of gRPC
        take offence at many pings.
        """
        self._has_ended = True
        self._is_spent |= self._unacknowledged > 0
        if self._is_spent:
            return
        self._deadline_s = max(self._deadline_s, time.perf_counter() + _CANCEL_S)
        with suppress(TimeoutError):
            self._write([frame(RST_STREAM, 0, self._stream, _U32.pack(CANCEL)), frame(SETTINGS, 0, 0)])
            self._unacknowledged += 1
            self._is_idle = True

    def _hear(self) -> None:
        """Take in what the server said while nothing was asked of it; raises OSError where nothing more can be."""
        self._socket.settimeout(0)
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            while said := self._socket.recv(_READ_BYTES):
                self._received += said
            raise ConnectionError("the server closed the connection")
        self._obey_all()
        if self._is_spent:
            raise ConnectionError("the server takes no more calls on this connection")

    def _take_in(self) -> None:
        """Wait for more of what the server says."""
        self._wait()
        said = self._socket.recv(_READ_BYTES)
        if not said:
            raise ConnectionError("the server closed the connection")
        self._received += said
        self._obey_all()

    def _obey_all(self) -> None:
        """Of the frames that have come whole."""
        come, at = self._received, 0
        while len(come) - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(come, at)
            first, after = at + _HEAD.size, at + _HEAD.size + (high << 8 | low)
            if after - first > _FRAME_SIZE:
                raise ProtocolError(f"a frame is to have {after - first} bytes")
            if after > len(come):
                break
            try:
                self._obey(kind, flags, stream & _MOST, come[first:after])
            except (struct.error, IndexError) as error:
                raise ProtocolError(f"a frame of type {kind} has {after - first} bytes") from error
            at = after
        del come[:at]

    def _obey(self, kind: int, flags: int, stream: int, payload: bytearray) -> None:
        """Frames of types that are not named here mean nothing to us (RFC 9113, 5.5)."""
        if kind in (DATA, HEADERS, CONTINUATION, RST_STREAM):
            if kind == DATA:
                self._give_room(len(payload))
            if stream == self._stream and not self._has_ended:
                self._add(kind, flags, payload)
        elif kind == WINDOW_UPDATE:
            self._widen(stream, _U32.unpack(payload)[0] & _MOST)
        elif kind == SETTINGS:
            self._settle(flags, payload)
        elif kind == PING and not flags & ACK:
            self._write([frame(PING, ACK, 0, payload)])
        elif kind == GOAWAY:
            self._is_spent = True
            if self._stream > _U32.unpack_from(payload)[0] & _MOST and not self._has_ended:
                self._reset, self._has_ended = REFUSED_STREAM, True

    def _add(self, kind: int, flags: int, payload: bytearray) -> None:
        """To the answer. A block of headers or trailers ends in a CONTINUATION frame where one does not hold it."""
        if kind == RST_STREAM:
            self._reset, self._has_ended = _U32.unpack(payload)[0], True
            return
        if kind == DATA:
            self._answer.body.extend(_unpadded(payload, flags))
            self._has_ended = bool(flags & END_STREAM)
            return
        if kind == HEADERS:
            payload = _unpadded(payload, flags)[5 if flags & PRIORITY else 0 :]
            self._is_last_block = bool(flags & END_STREAM)
        self._block += payload
        if flags & END_HEADERS:
            self._answer.blocks.append(bytes(self._block))
            self._block.clear()
            self._has_ended = self._is_last_block

    def _widen(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
        elif stream == self._stream:
            self._stream_window += size

    def _settle(self, flags: int, payload: bytearray) -> None:
        """Settings of the server, or that it has heard of ours."""
        if flags & ACK:
            self._unacknowledged -= 1
            return
        for key, value in _SETTING.iter_unpack(payload):
            if key == INITIAL_WINDOW_SIZE:  # it moves the window of an open stream too, below 0 even (6.9.2)
                self._stream_window += value - self._first_window
                self._first_window = value
            elif key == MAX_FRAME_SIZE:
                self._frame_size = min(max(value, FIRST_FRAME_SIZE), _LARGEST_FRAME)
        self._is_settled = True
        self._write([frame(SETTINGS, ACK, 0)])

    def _give_room(self, size: int) -> None:
        self._taken += size
        if self._taken > _WINDOW // 2:
            self._write([frame(WINDOW_UPDATE, 0, 0, _U32.pack(self._taken))])
            self._taken = 0

    def _write(self, out: list[Bytes]) -> None:
        """All of it, after which the list is empty; half of it is the end of the connection."""
        was_spent, self._is_spent = self._is_spent, True
        if isinstance(self._socket, ssl.SSLSocket):
            self._wait()
            self._socket.sendall(b"".join(out))
            out.clear()
        while out:
            self._wait()
            sent = self._socket.sendmsg(out[:_BUFFERS])
            whole = 0
            while whole < len(out) and sent >= len(out[whole]):
                sent -= len(out[whole])
                whole += 1
            del out[:whole]
            if sent:
                out[0] = memoryview(out[0])[sent:]
        self._is_spent = was_spent

    def _wait(self) -> None:
        """Have the next call of the socket end at the deadline."""
        left_s = self._deadline_s - time.perf_counter()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)


def frame(kind: int, flags: int, stream: int, payload: bytes | bytearray = b"") -> bytes:
    """A frame as it goes over the wire (RFC 9113, 4.1)."""
    return _head(kind, flags, stream, len(payload)) + payload


def _head(kind: int, flags: int, stream: int, size: int) -> bytes:
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)


def _header_frames(stream: int, block: bytes, most: int) -> Iterator[bytes]:
    for first in range(0, len(block), most):
        kind = CONTINUATION if first else HEADERS
        yield frame(kind, 0 if first + most < len(block) else END_HEADERS, stream, block[first : first + most])


def _cut(pieces: list[memoryview], size: int) -> Iterator[memoryview]:
    """The first `size` bytes of the pieces, which are taken off them."""
    while size:
        piece = pieces.pop(0)
        if len(piece) > size:
            pieces.insert(0, piece[size:])
        yield piece[:size]
        size -= min(size, len(piece))


def _unpadded(payload: bytearray, flags: int) -> bytearray:
    return payload[1 : len(payload) - payload[0]] if flags & PADDED else payload
