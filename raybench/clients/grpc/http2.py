"""HTTP/2 (RFC 9113) for one call at a time on a connection: a request leaves from where its bytes lie."""

import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import NamedTuple

from raybench.clients.grpc.http2_frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME,
    MAX_31_BIT,
    MAX_FRAME_SIZE,
    PING,
    PRIORITY,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    U32,
    WINDOW_UPDATE,
    connection_preface,
    frame,
    frame_header,
    header_frames,
    take_bytes,
    without_padding,
)

_WINDOW = MAX_31_BIT  # for responses: of the connection, and of each stream
_FRAME_SIZE = 2**22  # of the frames that we take
_READ_BYTES = 2**16
_BUFFERS = 1000  # of one sendmsg(2): IOV_MAX is 1024
_CANCEL_S = 0.1

Bytes = bytes | memoryview


class StreamResponse(NamedTuple):
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

    It asks the server to keep no table of headers, so that a block of them means the same on every connection, and to
    send a response of any size at once. Deadlines are seconds of time.perf_counter(). Raises OSError where the
    connection breaks, TimeoutError at a deadline, and ProtocolError.
    """

    def __init__(self, opened: socket.socket, deadline_s: float) -> None:
        self._socket, self._deadline_s = opened, deadline_s
        self._received = bytearray()
        self._stream = -1
        # What the server still takes: on all streams, on the open one, and on a new one.
        self._connection_window, self._stream_window, self._initial_window = DEFAULT_WINDOW, 0, DEFAULT_WINDOW
        self._frame_size = DEFAULT_FRAME_SIZE
        self._uncredited = 0  # bytes of responses that were read, and not yet given back to the server's window
        self._response, self._has_ended = StreamResponse([], bytearray()), True
        self._block, self._is_last_block = bytearray(), False
        self._reset: int | None = None
        self._is_idle, self._is_spent = True, False
        self._is_settled, self._unacknowledged = False, 1  # the server's settings have come; ours that it has not acked
        self._write([connection_preface(_WINDOW, _FRAME_SIZE)])
        while not self._is_settled:  # what the server takes comes before all else (RFC 9113, 3.4)
            self._read()

    @property
    def is_reusable(self) -> bool:
        """Whether another call may follow the last one."""
        return self._is_idle and not self._is_spent and self._stream < MAX_31_BIT - 2

    def exchange(self, block: bytes, *pieces: Bytes, deadline_s: float) -> StreamResponse:
        """Send a block of headers and a body in pieces, read the response; raises StreamReset and Unprocessed too."""
        self._deadline_s, self._is_idle = deadline_s, False
        try:
            self._poll()
        except OSError as error:
            raise Unprocessed(str(error)) from error
        self._stream += 2
        self._stream_window = self._initial_window
        self._response, self._has_ended, self._reset = StreamResponse([], bytearray()), False, None
        self._block.clear()
        try:
            self._send(block, [memoryview(piece) for piece in pieces])
            while not self._has_ended:
                self._read()
        except TimeoutError:
            self._cancel()
            raise
        self._is_idle = True
        return self._outcome()

    def close(self) -> None:
        self._socket.close()

    def _send(self, block: bytes, pieces: list[memoryview]) -> None:
        """Send a request as fast as flow control lets it (RFC 9113, 5.2); give up where the response ends before."""
        out: list[Bytes] = [*header_frames(self._stream, block, self._frame_size)]
        left = sum(map(len, pieces))
        while left:
            size = min(left, self._connection_window, self._stream_window, self._frame_size)
            if size <= 0:
                self._write(out)
                self._read()
                if self._has_ended:
                    self._cancel()
                    return
                continue
            left -= size
            self._connection_window -= size
            self._stream_window -= size
            out += [frame_header(DATA, 0 if left else END_STREAM, self._stream, size), *take_bytes(pieces, size)]
        self._write(out)

    def _outcome(self) -> StreamResponse:
        if self._reset is None:
            return self._response
        if self._reset != REFUSED_STREAM:
            raise StreamReset(self._reset)
        self._is_spent = True
        raise Unprocessed("the server takes no more calls on this connection")

    def _cancel(self) -> None:
        """Ask the server to drop a call; what it still sends of it is ignored.

        Whether it still listens shows by the next time: it must acknowledge settings (RFC 9113, 6.5.3). Servers of gRPC
        take offence at many pings.
        """
        self._has_ended = True
        self._is_spent |= self._unacknowledged > 0
        if self._is_spent:
            return
        self._deadline_s = max(self._deadline_s, time.perf_counter() + _CANCEL_S)
        with suppress(TimeoutError):
            self._write([frame(RST_STREAM, 0, self._stream, U32.pack(CANCEL)), frame(SETTINGS, 0, 0)])
            self._unacknowledged += 1
            self._is_idle = True

    def _poll(self) -> None:
        """Handle what the server sent between calls; raises OSError where it takes no further call."""
        self._socket.settimeout(0)
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            while said := self._socket.recv(_READ_BYTES):
                self._received += said
            raise ConnectionError("the server closed the connection")
        self._handle_frames()
        if self._is_spent:
            raise ConnectionError("the server takes no more calls on this connection")

    def _read(self) -> None:
        """Wait for bytes, and handle the frames that they complete."""
        self._wait()
        said = self._socket.recv(_READ_BYTES)
        if not said:
            raise ConnectionError("the server closed the connection")
        self._received += said
        self._handle_frames()

    def _handle_frames(self) -> None:
        """Handle the frames that have arrived whole; the rest stays in the buffer."""
        received, at = self._received, 0
        while len(received) - at >= FRAME_HEADER.size:
            high, low, kind, flags, stream = FRAME_HEADER.unpack_from(received, at)
            first, after = at + FRAME_HEADER.size, at + FRAME_HEADER.size + (high << 8 | low)
            if after - first > _FRAME_SIZE:
                raise ProtocolError(f"a frame is to have {after - first} bytes")
            if after > len(received):
                break
            try:
                self._handle_frame(kind, flags, stream & MAX_31_BIT, received[first:after])
            except (struct.error, IndexError) as error:
                raise ProtocolError(f"a frame of type {kind} has {after - first} bytes") from error
            at = after
        del received[:at]

    def _handle_frame(self, kind: int, flags: int, stream: int, payload: bytearray) -> None:
        """Frames of all other types are ignored (RFC 9113, 5.5), and so are those of a stream that has ended."""
        if kind in (DATA, HEADERS, CONTINUATION, RST_STREAM):
            if kind == DATA:
                self._credit(len(payload))
            if stream == self._stream and not self._has_ended:
                self._add_to_response(kind, flags, payload)
        elif kind == WINDOW_UPDATE:
            self._window_update(stream, U32.unpack(payload)[0] & MAX_31_BIT)
        elif kind == SETTINGS:
            self._apply_settings(flags, payload)
        elif kind == PING and not flags & ACK:
            self._write([frame(PING, ACK, 0, payload)])
        elif kind == GOAWAY:
            self._is_spent = True
            if self._stream > U32.unpack_from(payload)[0] & MAX_31_BIT and not self._has_ended:
                self._reset, self._has_ended = REFUSED_STREAM, True

    def _add_to_response(self, kind: int, flags: int, payload: bytearray) -> None:
        """A block of headers or trailers that one frame does not hold ends in a CONTINUATION frame."""
        if kind == RST_STREAM:
            self._reset, self._has_ended = U32.unpack(payload)[0], True
            return
        if kind == DATA:
            self._response.body.extend(without_padding(payload, flags))
            self._has_ended = bool(flags & END_STREAM)
            return
        if kind == HEADERS:
            payload = without_padding(payload, flags)[5 if flags & PRIORITY else 0 :]
            self._is_last_block = bool(flags & END_STREAM)
        self._block += payload
        if flags & END_HEADERS:
            self._response.blocks.append(bytes(self._block))
            self._block.clear()
            self._has_ended = self._is_last_block

    def _window_update(self, stream: int, size: int) -> None:
        if stream == 0:
            self._connection_window += size
        elif stream == self._stream:
            self._stream_window += size

    def _apply_settings(self, flags: int, payload: bytearray) -> None:
        """The server's settings, which are acknowledged, or its acknowledgement of the client's (RFC 9113, 6.5)."""
        if flags & ACK:
            self._unacknowledged -= 1
            return
        for key, value in SETTING.iter_unpack(payload):
            if key == INITIAL_WINDOW_SIZE:  # it moves the window of an open stream too, below 0 even (6.9.2)
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif key == MAX_FRAME_SIZE:
                self._frame_size = min(max(value, DEFAULT_FRAME_SIZE), LARGEST_FRAME)
        self._is_settled = True
        self._write([frame(SETTINGS, ACK, 0)])

    def _credit(self, size: int) -> None:
        """Give the server room again for the bytes read, once half of the window is used (RFC 9113, 6.9)."""
        self._uncredited += size
        if self._uncredited > _WINDOW // 2:
            self._write([frame(WINDOW_UPDATE, 0, 0, U32.pack(self._uncredited))])
            self._uncredited = 0

    def _write(self, out: list[Bytes]) -> None:
        """Send all of it and empty the list; a connection on which only a part was sent is not used again."""
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
        """Let the next call of the socket wait until the deadline, and no longer; raises TimeoutError after it."""
        left_s = self._deadline_s - time.perf_counter()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)
