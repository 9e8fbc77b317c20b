"""What stands behind a port that did not answer as it should."""

import socket
import ssl
from contextlib import suppress

_TIMEOUT_S = 2.0
_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
GRPC, TLS = "a gRPC server of another kind", "a server that wants TLS"
_HTTP2_FRAMES = (b"\x04", b"\x07")  # SETTINGS and GOAWAY, which are what a server sends first (RFC 9113, 6.5 and 6.8)


def what_answers(url: str) -> str:
    """Who listens at HOST:PORT, in words that end a sentence such as "there is ..."."""
    host, _, port = url.rpartition(":")
    address = host.strip("[]"), int(port)
    try:
        with socket.create_connection(address, timeout=_TIMEOUT_S) as connection:
            said = _first_words(connection)
        return TLS if not said and _wants_tls(address) else _name(said)
    except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
        return f"nothing to connect to ({getattr(error, 'strerror', None) or error})"


def is_here(url: str) -> bool:
    """Whether HOST:PORT is this host: an address can be bound on the host that has it alone."""
    host, _, _ = url.rpartition(":")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError):
        return False
    return True


def _first_words(connection: socket.socket) -> bytes:
    """What it says by itself or to an HTTP request; nothing where it is silent or hangs up."""
    with suppress(OSError):
        connection.sendall(_REQUEST)
        return connection.recv(200)
    return b""


def _wants_tls(address: tuple[str, int]) -> bool:
    """Whether a handshake succeeds: OpenSSL hangs up on all else, without a word."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(address, timeout=_TIMEOUT_S) as raw, context.wrap_socket(raw):
            return True
    except OSError:
        return False


def _name(said: bytes) -> str:
    """TLS records of an alert start with 21 and 3 (RFC 8446, 5.1 and 6)."""
    line = said.split(b"\n")[0].decode("ascii", "backslashreplace").strip()
    if said.startswith(b"HTTP/"):
        return f"an HTTP server, not a gRPC one ({line[:60]!r})"
    if said.startswith(b"\x15\x03"):
        return TLS
    if said[3:4] in _HTTP2_FRAMES:
        return GRPC
    return f"something that says {line[:60]!r}" if line else "something that accepts connections and says nothing"
