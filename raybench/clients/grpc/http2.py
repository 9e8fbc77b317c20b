"""HTTP/2 (RFC 9113) for one call at a time on a connection: a request leaves from where its bytes lie."""

import struct
import time
from contextlib import suppress

from raybench.clients.grpc import http2_frames as wire
from raybench.clients.grpc.deadline_socket import Bytes, DeadlineSocket
from raybench.clients.grpc.http2_frames import (
    DATA,
    FRAME_HEADER,
    MAX_31_BIT,
    U32,
    WINDOW_UPDATE,
    connection_preface,
    data_frames,
    error_name,
    frame,
    header_frames,
)
from raybench.clients.grpc.http2_stream import ProtocolError, Stream, StreamReset, StreamResponse
from raybench.clients.grpc.probe import protocol_of

_WINDOW = MAX_31_BIT  # for responses: of the connection, and of each stream
_FRAME_SIZE = 2**22  # of the frames that we take
_CANCEL_S = 0.1
_MORE_ROOM_S = 0.001  # how long a request waits for more room in a small window,
_BYTES_A_WAIT = 2**18  # and how often it does so in vain: once, and once more for each of so many bytes
_READS_BETWEEN_CALLS = 16  # at most; the next call reads on, until its deadline
_DEBUG_BYTES = 200  # of GOAWAY
_FIRST_FRAMES = (wire.SETTINGS, wire.PING, wire.GOAWAY, WINDOW_UPDATE)


class Unprocessed(ConnectionError):
    """The server has not begun with a request, which may be sent again (RFC 9113, 8.7)."""


class Connection:
    """A connection to a server, for one call after the other.

    It asks the server to keep no table of headers, so that a block of them means the same on every connection, and to
    send a response of any size at once. Deadlines are seconds of time.perf_counter(). Raises OSError where the
    connection breaks, TimeoutError at a deadline, and ProtocolError.
    """

    def __init__(self, connected: DeadlineSocket) -> None:
        self._socket = connected
        self._received = bytearray()
        self._answers: list[Bytes] = []  # to PING and SETTINGS, and room for more
        # What the server still takes: on all streams, and on a new one.
        self._connection_window, self._initial_window = wire.DEFAULT_WINDOW, wire.DEFAULT_WINDOW
        self._frame_size = wire.DEFAULT_FRAME_SIZE
        self._uncredited = 0  # bytes of responses that were read, and not yet given back to the server's window
        self._stream = Stream(-1, 0)
        self._stream.has_ended = True
        self._goaway = ""  # why the server takes no more calls, where it said so
        self._is_idle, self._is_spent = True, False
        self._is_settled, self._unacknowledged = False, 1  # the server's settings have come; ours that it has not acked
        self._write([connection_preface(_WINDOW, _FRAME_SIZE)])
        while not self._is_settled:  # what the server takes comes before all else (RFC 9113, 3.4)
            self._received += self._socket.receive()
            if len(self._received) > 3 and self._received[3] not in _FIRST_FRAMES:
                raise ProtocolError(f"there is {protocol_of(bytes(self._received[:200]))}")
            self._handle(b"")

    @property
    def is_reusable(self) -> bool:
        """Whether another call may follow the last one."""
        return self._is_idle and not self._is_spent and self._stream.identifier < MAX_31_BIT - 2

    def exchange(self, block: bytes, *pieces: Bytes, deadline_s: float) -> StreamResponse:
        """Send a block of headers and a body in pieces, read the response; raises StreamReset and Unprocessed too."""
        self._socket.deadline_s, self._is_idle = deadline_s, False
        try:
            self._read_between_calls()
        except OSError as error:
            raise Unprocessed(self._goaway or str(error)) from error
        self._stream = stream = Stream(self._stream.identifier + 2, self._initial_window)
        try:
            self._send(block, [memoryview(piece) for piece in pieces])
            while not stream.has_ended:
                self._read()
        except TimeoutError:
            self._cancel()
            raise
        except OSError as error:
            return self._response_before(error)
        self._is_idle = True
        return self._response()

    def close(self) -> None:
        self._socket.close()

    def _send(self, block: bytes, pieces: list[memoryview]) -> None:
        """Send a request as fast as flow control lets it (RFC 9113, 5.2); give up where the response ends before."""
        stream = self._stream
        out: list[Bytes] = [*header_frames(stream.identifier, block, self._frame_size)]
        left = sum(map(len, pieces))
        frame_size = self._payload_size()
        patience = 1 + left // _BYTES_A_WAIT
        while left:
            if (size := min(left, self._connection_window, stream.send_window)) > 0:
                left -= size
                self._connection_window -= size
                stream.send_window -= size
                out += data_frames(stream.identifier, pieces, size, frame_size, 0 if left else wire.END_STREAM)
            self._write(out)
            if left:
                patience -= not self._await_window(left if patience else 0)
                if stream.has_ended:
                    self._cancel()
                    return

    def _payload_size(self) -> int:
        """Bytes of a request in a DATA frame, which over TLS fills a record.

        In small windows frames are an eighth smaller: HAProxy's buffers hold 16 KiB with 1 KiB in reserve, so it reads
        a full frame in two parts, and sends window updates for each in a record of its own.
        """
        if min(self._initial_window, self._connection_window) > wire.DEFAULT_WINDOW:
            return self._frame_size - FRAME_HEADER.size
        return self._frame_size * 7 // 8

    def _await_window(self, wanted: int) -> bool:
        """Read until the server takes more; False where half a window was waited for in vain.

        A proxy makes room in small steps. To wake up for each, and to send a small frame, costs more than all else.
        """
        stream, enough = self._stream, min(wanted, min(self._initial_window, wire.DEFAULT_WINDOW) // 2)
        self._read()
        while 0 < (room := min(self._connection_window, stream.send_window)) < enough and not stream.has_ended:
            steps = -(-(enough - room) // room)  # as large as the last one
            if not self._socket.is_readable_within(_MORE_ROOM_S, steps * self._socket.read_bytes):
                return False
            self._handle(self._socket.receive_now())
        return True

    def _response(self) -> StreamResponse:
        stream = self._stream
        if stream.reset is None:
            return stream.response
        if stream.reset == wire.REFUSED_STREAM:
            raise Unprocessed(self._goaway or f"the server refused the call: {error_name(wire.REFUSED_STREAM)}")
        return self._cut_off(StreamReset(stream.reset))

    def _response_before(self, error: OSError) -> StreamResponse:
        """The response that arrived before the connection broke, whole or in part; raises the error without any."""
        with suppress(OSError):  # what the system still holds; nothing can be sent any more
            while not self._stream.has_ended:
                self._received += self._socket.receive()
                self._handle_frames()
        if self._stream.has_ended:
            return self._response()
        if self._goaway:
            error = ConnectionError(f"{error.strerror or error}; {self._goaway}")
        return self._cut_off(error)

    def _cut_off(self, error: OSError | StreamReset) -> StreamResponse:
        """Headers say more than how the stream ended."""
        if not self._stream.response.blocks:
            raise error
        return self._stream.response._replace(cut_off=error)

    def _cancel(self) -> None:
        """Ask the server to drop a call; what it still sends of it is ignored.

        Whether it still listens shows by the next time: it must acknowledge settings (RFC 9113, 6.5.3). Servers of gRPC
        take offence at many pings.
        """
        self._stream.has_ended = True
        self._is_spent |= self._unacknowledged > 0
        if self._is_spent:
            return
        self._socket.deadline_s = max(self._socket.deadline_s, time.perf_counter() + _CANCEL_S)
        with suppress(TimeoutError):
            reset = frame(wire.RST_STREAM, 0, self._stream.identifier, U32.pack(wire.CANCEL))
            self._write([reset, frame(wire.SETTINGS, 0, 0)])
            self._unacknowledged += 1
            self._is_idle = True

    def _read_between_calls(self) -> None:
        """Handle what the server sent between calls; raises OSError where it takes no further call."""
        reads = 0
        while reads < _READS_BETWEEN_CALLS and (said := self._socket.receive_now()):
            self._handle(said)
            reads += 1
        if self._is_spent:
            raise ConnectionError("the server takes no more calls on this connection")

    def _read(self) -> None:
        """Wait for bytes, and handle the frames that they complete."""
        self._handle(self._socket.receive())

    def _handle(self, said: bytes) -> None:
        self._received += said
        self._handle_frames()
        if self._answers:
            self._write(self._answers)

    def _handle_frames(self) -> None:
        """Handle the frames that have arrived whole; the rest stays in the buffer."""
        received, at = self._received, 0
        while len(received) - at >= FRAME_HEADER.size:
            high, low, kind, flags, stream = FRAME_HEADER.unpack_from(received, at)
            first, after = at + FRAME_HEADER.size, at + FRAME_HEADER.size + (high << 8 | low)
            if after - first > (_FRAME_SIZE if kind == DATA or kind > wire.CONTINUATION else wire.LARGEST_HEADER_LIST):
                raise ProtocolError(f"a frame of type {kind} is to have {after - first} bytes")
            if after > len(received):
                break
            try:
                if kind == WINDOW_UPDATE and after - first == U32.size:
                    self._window_update(stream & MAX_31_BIT, U32.unpack_from(received, first)[0] & MAX_31_BIT)
                else:
                    self._handle_frame(kind, flags, stream & MAX_31_BIT, received[first:after])
            except (struct.error, IndexError) as error:
                raise ProtocolError(f"a frame of type {kind} has {after - first} bytes") from error
            at = after
        del received[:at]

    def _handle_frame(self, kind: int, flags: int, stream: int, payload: bytearray) -> None:
        """Frames of all other types are ignored (RFC 9113, 5.5), and so are those of a stream that has ended."""
        if kind == WINDOW_UPDATE:
            raise IndexError
        if kind in (DATA, wire.HEADERS, wire.CONTINUATION, wire.RST_STREAM):
            if kind == DATA:
                self._credit(len(payload))
            if stream == self._stream.identifier and not self._stream.has_ended:
                self._stream.receive(kind, flags, payload)
        elif kind == wire.SETTINGS:
            self._apply_settings(flags, payload)
        elif kind == wire.PING and not flags & wire.ACK:
            self._answers.append(frame(wire.PING, wire.ACK, 0, struct.pack("8s", payload)))
        elif kind == wire.GOAWAY:
            self._go_away(payload)

    def _window_update(self, stream: int, size: int) -> None:
        if stream == 0:
            self._connection_window += size
        elif stream == self._stream.identifier:
            self._stream.send_window += size

    def _go_away(self, payload: bytearray) -> None:
        """The server takes no further call, and maybe not the last one (RFC 9113, 6.8)."""
        last_stream, code = struct.unpack_from(">II", payload)
        debug = payload[8 : 8 + _DEBUG_BYTES]
        self._is_spent = True
        text = f": {debug.decode('ascii', 'backslashreplace')!r}" if debug else ""
        self._goaway = f"the server takes no more calls on this connection: {error_name(code)}{text}"
        if self._stream.identifier > last_stream & MAX_31_BIT and not self._stream.has_ended:
            self._stream.abort(wire.REFUSED_STREAM)

    def _apply_settings(self, flags: int, payload: bytearray) -> None:
        """The server's settings, which are acknowledged, or its acknowledgement of the client's (RFC 9113, 6.5)."""
        if flags & wire.ACK:
            self._unacknowledged -= 1
            return
        for key, value in wire.SETTING.iter_unpack(payload):
            if key == wire.INITIAL_WINDOW_SIZE:  # it moves the window of an open stream too, below 0 even (6.9.2)
                self._stream.send_window += value - self._initial_window
                self._initial_window = value
            elif key == wire.MAX_FRAME_SIZE:
                self._frame_size = min(max(value, wire.DEFAULT_FRAME_SIZE), wire.LARGEST_FRAME)
        self._is_settled = True
        self._answers.append(frame(wire.SETTINGS, wire.ACK, 0))

    def _credit(self, size: int) -> None:
        """Give the server room again for the bytes read, once half of the window is used (RFC 9113, 6.9)."""
        self._uncredited += size
        if self._uncredited > _WINDOW // 2:
            self._answers.append(frame(WINDOW_UPDATE, 0, 0, U32.pack(self._uncredited)))
            self._uncredited = 0

    def _write(self, out: list[Bytes]) -> None:
        """Send all of it and empty the list; a connection on which only a part was sent is not used again."""
        was_spent, self._is_spent = self._is_spent, True
        self._socket.send(out)
        self._is_spent = was_spent
