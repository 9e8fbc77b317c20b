"""HTTP statuses of inference servers, as the gRPC statuses that they stand for, with the server's sentence."""

import json
from typing import Any

from raybench.clients.base import UNAVAILABLE

# Triton: src/http_server.cc, HttpCodeFromError; TensorFlow Serving: util/net_http and http_rest_api_util. Of the
# statuses that share a code the one that a client can do most about stands for them.
_BY_CODE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: "DEADLINE_EXCEEDED",
}
_LONGEST = 300


def grpc_status(code: int) -> str:
    """The gRPC status name of an HTTP status other than 200."""
    return _BY_CODE.get(code, "UNKNOWN")


def sentence(code: int, reason: str, body: bytes) -> str:
    """What a server says of a failure: its `error` (KServe v2, TensorFlow Serving), or its text as far as it is one."""
    said = _error(body) or body.decode("utf-8", "replace")
    line = " ".join(said.split())
    is_page = line[:1] == "<"
    shown = "" if is_page else line[:_LONGEST]
    return shown or f"HTTP status {code} {reason}".strip()


def _error(body: bytes) -> str | None:
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = said.get("error") if isinstance(said, dict) else None
    return found if isinstance(found, str) else None
