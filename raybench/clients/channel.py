"""A gRPC channel of a worker's own: bytes out, bytes in, failures as values."""

from typing import Any

import grpc

from raybench.clients.base import Reply
from raybench.clients.probe import what_answers

DESCRIBE_TIMEOUT_S = 10.0
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels of a process share one connection
)


def open_channel(url: str) -> grpc.Channel:
    return grpc.insecure_channel(url, options=_OPTIONS)


def unary(call: Any, request: bytes, timeout_s: float) -> Reply:
    """One call of a method that takes and gives bytes; never raises for what the server or the network does."""
    try:
        body = call(request, timeout=timeout_s)
    except grpc.RpcError as error:
        return Reply(status=error.code().name, error=error.details())
    return Reply(status="OK", body=body, received_bytes=len(body))


def ask(channel: grpc.Channel, path: str, request: Any, answer: Any, timeout_s: float | None = None) -> Any:
    """One call with messages, off the clock; raises grpc.RpcError."""
    call = channel.unary_unary(
        path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
    )
    return call(request, timeout=timeout_s or DESCRIBE_TIMEOUT_S)


def stranger(error: Any, url: str, name: str) -> str | None:
    """Why a failed call met no server of this name, and the remedy; None where it met one."""
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return f"no {name} answers: there is {what_answers(url)}; name the gRPC port of one that runs"
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return f"a gRPC server answers that is not {name}; name the gRPC port of one"
    return None
