"""Diagnosis of a port that did not answer as expected: which protocol it speaks, and why TLS fails."""

import socket
import ssl
from contextlib import suppress

from raybench.clients.grpc.connection_credentials import Tls
from raybench.config import without_scheme

_TIMEOUT_S = 2.0
_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
GRPC, TLS = "a gRPC server of another kind", "a server that wants TLS"
_NOT_GRPC = ", not a gRPC one"
_OTHER_HOST, _NOT_NOW = (62, 64), (9, 10)  # X509_V_ERR_...
_ALERTS = ("CERTIFICATE", "HANDSHAKE_FAILURE", "UNKNOWN_CA")  # about our certificate (RFC 8446, 6.2)
_MISSING = "the server wants a client certificate: give --tls-cert and --tls-key"
_REFUSED = (
    "the server refuses the client certificate: give a --tls-cert that has not expired, of an authority that it trusts"
)
_HTTP2_FRAMES = (b"\x04", b"\x07")  # SETTINGS and GOAWAY, which are what a server sends first (RFC 9113, 6.5 and 6.8)


def what_answers(url: str) -> str:
    """What listens at HOST:PORT, in words that end a sentence such as "there is ..."."""
    address = host_and_port(url)
    try:
        with socket.create_connection(address, timeout=_TIMEOUT_S) as connection:
            said = _first_words(connection)
        return TLS if not said and _wants_tls(address) else protocol_of(said)
    except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
        return f"nothing to connect to ({getattr(error, 'strerror', None) or error})"


def unreachable_reason(url: str, tls: Tls | None, port: str = "gRPC") -> str:
    """Why no server was reached at HOST:PORT with this TLS, or without, and the remedy; `port` is what the wanted port
    is called: gRPC, or else one that speaks HTTP."""
    there, is_grpc = what_answers(url), port == "gRPC"
    if there == TLS:
        wanted = f"there is {TLS}: give --tls-ca, a file with its certificate authority, or system"
        return wanted if tls is None else _tls_failure(url, tls) or f"there is {TLS}, but no {port}: name another port"
    if there == GRPC and not is_grpc:
        return f"there is a gRPC server: name the {port} port of a running server"
    if there == GRPC and tls:
        return "there is a gRPC server in plain text: leave out --tls-ca, or name the port where it speaks TLS"
    shown = there if is_grpc else there.replace(_NOT_GRPC, "")
    return f"there is {shown}; name the {port} port of a running server"


def protocol_of(said: bytes) -> str:
    """Who sends such bytes, in words; a TLS alert starts with 21 and 3 (RFC 8446, 5.1 and 6)."""
    line = said.split(b"\n")[0].decode("ascii", "backslashreplace").strip()
    if said.startswith(b"HTTP/"):
        return f"an HTTP server{_NOT_GRPC} ({line[:60]!r})"
    if said.startswith(b"\x15\x03"):
        return TLS
    if said[3:4] in _HTTP2_FRAMES:
        return GRPC
    return f"something that says {line[:60]!r}" if line else "something that accepts connections and says nothing"


def is_here(url: str) -> bool:
    """Whether HOST:PORT is this host: an address can be bound on the host that has it alone."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host_and_port(url)[0], 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError):
        return False
    return True


def host_and_port(url: str) -> tuple[str, int]:
    host, _, port = without_scheme(url).rpartition(":")
    return host.strip("[]"), int(port)


def _tls_failure(url: str, tls: Tls) -> str | None:
    """Why the TLS handshake with a server fails, and the remedy; None where it succeeds."""
    ours = _REFUSED if tls.certificate else _MISSING
    try:
        return None if _answers_over_tls(url, tls) else ours
    except ssl.SSLCertVerificationError as error:
        return _certificate_error(error, tls.server_name or host_and_port(url)[0])
    except ssl.SSLError as error:
        is_ours = any(word in str(error.reason) for word in _ALERTS)
        return (
            ours
            if is_ours
            else f"the server's TLS version does not fit the client's ({error.reason}): set it to TLS 1.2 or 1.3"
        )
    except OSError:
        return None


def _answers_over_tls(url: str, tls: Tls) -> bool:
    """Whether more succeeds than the handshake: by TLS 1.3 a client has done its part before its certificate is judged,
    and gRPC's own servers then hang up without a reason."""
    address = host_and_port(url)
    with (
        socket.create_connection(address, timeout=_TIMEOUT_S) as raw,
        tls.context().wrap_socket(raw, server_hostname=tls.server_name or address[0]) as connection,
    ):
        return bool(connection.recv(1))


def _certificate_error(error: ssl.SSLCertVerificationError, host: str) -> str:
    """What is wrong with the server's certificate; the codes are OpenSSL's: X509_STORE_CTX_get_error(3)."""
    said = error.verify_message
    if error.verify_code in _OTHER_HOST:
        return f"the server's certificate is not for {host}: name its host in the url or with --tls-server-name"
    if error.verify_code in _NOT_NOW:
        return f"the server's certificate is not valid now ({said}): renew it, or set the clocks right"
    return f"the server's certificate was not signed by the authority in --tls-ca ({said}): give the right one"


def _first_words(connection: socket.socket) -> bytes:
    """The first bytes that it sends unasked or to an HTTP request; none where it is silent or hangs up."""
    with suppress(OSError):
        connection.sendall(_REQUEST)
        return connection.recv(200)
    return b""


def _wants_tls(address: tuple[str, int]) -> bool:
    """Whether a handshake succeeds: OpenSSL hangs up on anything else without a reason."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(address, timeout=_TIMEOUT_S) as raw, context.wrap_socket(raw):
            return True
    except ssl.SSLError as error:
        return "ALERT" in str(error.reason)
    except OSError:
        return False
