"""One stream of HTTP/2 (RFC 9113, 5): what the server still takes on it, and the response as far as it has come."""

from typing import NamedTuple

from raybench.clients.grpc.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LARGEST_HEADER_LIST,
    PRIORITY,
    RST_STREAM,
    U32,
    error_name,
    without_padding,
)

_MOST_BLOCKS = 32  # of one response: informational ones (1xx), the headers, and the trailers


class ProtocolError(Exception):
    """What the server sends is not HTTP/2."""


class StreamReset(Exception):
    """The server ended a call with an error code of HTTP/2 (RFC 9113, 7)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server reset the stream with {error_name(code)}")
        self.code = code


class StreamResponse(NamedTuple):
    """What came back on a stream: HPACK blocks, the first of headers and the last of trailers, and the body.

    `cut_off` says why the response ended before its end.
    """

    blocks: list[bytes]
    body: bytearray
    cut_off: OSError | StreamReset | None = None


class Stream:
    """An open stream; `send_window` is how many bytes the server still takes on it."""

    __slots__ = ("_block", "_is_last_block", "has_ended", "identifier", "reset", "response", "send_window")

    def __init__(self, identifier: int, send_window: int) -> None:
        self.identifier, self.send_window = identifier, send_window
        self.response, self.has_ended = StreamResponse([], bytearray()), False
        self.reset: int | None = None
        self._block, self._is_last_block = bytearray(), False

    def receive(self, kind: int, flags: int, payload: bytearray) -> None:
        """Handle a DATA, HEADERS, CONTINUATION or RST_STREAM frame; raises ProtocolError."""
        if kind == DATA:
            self.response.body.extend(without_padding(payload, flags))
            self.has_ended = bool(flags & END_STREAM)
        elif kind == RST_STREAM:
            self.abort(U32.unpack(payload)[0])
        else:
            self._add_header_block(kind, flags, payload)

    def abort(self, code: int) -> None:
        """The server gave it up with an error code."""
        self.reset, self.has_ended = code, True

    def _add_header_block(self, kind: int, flags: int, payload: bytearray) -> None:
        """A block of headers or trailers that one frame does not hold ends in a CONTINUATION frame."""
        if kind == HEADERS:
            payload = without_padding(payload, flags)[5 if flags & PRIORITY else 0 :]
            self._is_last_block = bool(flags & END_STREAM)
        self._block += payload
        if len(self._block) > LARGEST_HEADER_LIST or len(self.response.blocks) == _MOST_BLOCKS:
            raise ProtocolError(f"more than {LARGEST_HEADER_LIST} bytes or {_MOST_BLOCKS} blocks of headers")
        if flags & END_HEADERS:
            self.response.blocks.append(bytes(self._block))
            self._block.clear()
            self.has_ended = self._is_last_block
