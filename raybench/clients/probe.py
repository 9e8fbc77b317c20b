"""What stands behind a port that did not answer as it should."""

import socket
from contextlib import suppress

_TIMEOUT_S = 2.0
_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
_HTTP2_FRAMES = (b"\x04", b"\x07")  # SETTINGS and GOAWAY, which are what a server sends first (RFC 9113, 6.5 and 6.8)


def what_answers(url: str) -> str:
    """Who listens at HOST:PORT, in words that end a sentence such as "there is ..."."""
    host, _, port = url.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S) as connection:
            return _name(_first_words(connection))
    except OSError as error:
        return f"nothing to connect to ({error.strerror or error})"


def _first_words(connection: socket.socket) -> bytes:
    """What it says by itself or to an HTTP request; nothing where it is silent or hangs up."""
    with suppress(OSError):
        connection.sendall(_REQUEST)
        return connection.recv(200)
    return b""


def _name(said: bytes) -> str:
    """TLS records of an alert start with 21 and 3 (RFC 8446, 5.1 and 6)."""
    line = said.split(b"\n")[0].decode("ascii", "backslashreplace").strip()
    if said.startswith(b"HTTP/"):
        return f"an HTTP server, not a gRPC one ({line[:60]!r})"
    if said.startswith(b"\x15\x03"):
        return "a server that wants TLS"
    if said[3:4] in _HTTP2_FRAMES:
        return "a gRPC server of another kind"
    return f"something that says {line[:60]!r}" if line else "something that accepts connections and says nothing"
