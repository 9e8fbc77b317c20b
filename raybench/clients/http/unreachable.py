"""Why a call over HTTP reached no server that lets us in, and the remedy."""

from raybench.clients.grpc.channel import CallError
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.probe import TLS, what_answers

_UNREACHED = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL")


def http_diagnosis(url: str, credentials: ConnectionCredentials, error: CallError, name: str) -> str | None:
    """In place of what a failed call of a server of this name said; None where that server itself said it."""
    if error.status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return f"it needs the right headers ({error.status}: {error.said}): give them with -H"
    there = what_answers(url) if error.status in _UNREACHED else ""
    if there == TLS and not credentials.tls:
        return f"there is {TLS}: give --tls-ca, a file with its certificate authority, or system"
    if error.status != "INTERNAL" and there:
        return f"no {name} answers over HTTP: there is {there}; name the HTTP port of a running server"
    return None
