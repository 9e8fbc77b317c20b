"""Frames of HTTP/2 (RFC 9113, 4 and 6) as they go over the wire."""

import struct
from collections.abc import Iterator

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 0x01
END_HEADERS, PADDED, PRIORITY = 0x04, 0x08, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 1, 2, 4, 5, 6
REFUSED_STREAM, CANCEL = 7, 8
_ERROR_CODES = (  # by number (RFC 9113, 7)
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED"),
    *("FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"),
    *("INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW, DEFAULT_FRAME_SIZE = 65_535, 16_384  # until the other side says otherwise (RFC 9113, 6.5.2)
LARGEST_FRAME = 2**24 - 1
LARGEST_HEADER_LIST = 2**16  # bytes of headers and of trailers that we take, as RFC 9113, 6.5.2 counts them
MAX_31_BIT = 2**31 - 1  # of window sizes and stream identifiers; the bit above is reserved
FRAME_HEADER = struct.Struct(">HBBBI")  # 24 bits of length, type, flags, stream
SETTING = struct.Struct(">HI")
U32 = struct.Struct(">I")


def frame(kind: int, flags: int, stream: int, payload: bytes | bytearray = b"") -> bytes:
    """A frame as it goes over the wire (RFC 9113, 4.1)."""
    return frame_header(kind, flags, stream, len(payload)) + payload


def frame_header(kind: int, flags: int, stream: int, size: int) -> bytes:
    """The nine bytes before a payload of `size` bytes."""
    return FRAME_HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream)


def header_frames(stream: int, block: bytes, frame_size: int) -> Iterator[bytes]:
    """A block of headers in payloads of up to `frame_size` bytes: HEADERS, then CONTINUATION frames (RFC 9113, 4.3)."""
    for first in range(0, len(block), frame_size):
        kind = CONTINUATION if first else HEADERS
        flags = 0 if first + frame_size < len(block) else END_HEADERS
        yield frame(kind, flags, stream, block[first : first + frame_size])


def connection_preface(window: int, frame_size: int) -> bytes:
    """What a client sends first (RFC 9113, 3.4): its settings, and how many bytes of responses it takes.

    It asks for no table of headers and no pushes; `window` is that of the connection and of each stream.
    """
    settings = {HEADER_TABLE_SIZE: 0, ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: window, MAX_FRAME_SIZE: frame_size}
    settings[MAX_HEADER_LIST_SIZE] = LARGEST_HEADER_LIST
    payload = b"".join(SETTING.pack(*each) for each in settings.items())
    room = frame(WINDOW_UPDATE, 0, 0, U32.pack(window - DEFAULT_WINDOW))
    return PREFACE + frame(SETTINGS, 0, 0, payload) + room


def without_padding(payload: bytearray, flags: int) -> bytearray:
    """The payload of a DATA or HEADERS frame without padding (RFC 9113, 6.1); raises IndexError where it is empty."""
    return payload[1 : len(payload) - payload[0]] if flags & PADDED else payload


def data_frames(
    stream: int, pieces: list[memoryview], size: int, frame_size: int, last_flags: int
) -> list[bytes | memoryview]:
    """DATA frames of the first `size` bytes of the pieces, which are taken off without a copy, each of up to
    `frame_size` bytes; the last one has flags."""
    frames: list[bytes | memoryview] = []
    header = frame_header(DATA, 0, stream, frame_size)
    while size > frame_size:
        frames.append(header)
        frames += take_bytes(pieces, frame_size)
        size -= frame_size
    frames.append(frame_header(DATA, last_flags, stream, size))
    frames += take_bytes(pieces, size)
    return frames


def take_bytes(pieces: list[memoryview], size: int) -> list[memoryview]:
    """Take the first `size` bytes off the pieces, without a copy."""
    taken = []
    while size > len(pieces[0]):
        taken.append(pieces.pop(0))
        size -= len(taken[-1])
    taken.append(pieces[0][:size])
    pieces[0] = pieces[0][size:]
    return taken


def error_name(code: int) -> str:
    """An error code with its name, such as "HTTP/2 error 8 (CANCEL)"."""
    return f"HTTP/2 error {code}" + (f" ({_ERROR_CODES[code]})" if code < len(_ERROR_CODES) else "")
