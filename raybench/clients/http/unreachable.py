"""Why a call over HTTP reached no server that lets us in, and the remedy."""

from raybench.clients.base import UNAVAILABLE
from raybench.clients.grpc.channel import CallError
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.probe import unreachable_reason
from raybench.clients.http.connections import NOT_HTTP


def http_diagnosis(
    url: str, credentials: ConnectionCredentials, error: CallError, name: str, port: str = "HTTP"
) -> str | None:
    """In place of what a failed call of a server of this name said; None where that server itself said it."""
    said = error.said or ""
    if error.status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return f"it needs the right headers ({error.status}: {said}): give them with -H"
    if error.status in (UNAVAILABLE, "DEADLINE_EXCEEDED") or said.startswith(NOT_HTTP):
        return f"no {name} answers: {unreachable_reason(url, credentials.tls, port)}"
    return None
