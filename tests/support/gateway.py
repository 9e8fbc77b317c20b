"""A gRPC server in front of a real one: it ends TLS, lets in who has the right headers, and notes who called what."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from typing import Any

import grpc

_UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
_TIMEOUT_S = 60
Spoil = Callable[[int, bytes], bytes]


class _Gateway(grpc.GenericRpcHandler):
    """Calls go on as they are. Who comes without these headers, and every so many-th inference, is refused with the
    headers that it brought, as careless servers do. `spoil` changes the answer to inference number n."""

    def __init__(self, behind: grpc.Channel, headers: Mapping[str, str], refuse_every: int, spoil: Spoil) -> None:
        self._behind, self._headers, self._refuse_every, self._spoil = behind, headers, refuse_every, spoil
        self._inferences = count(1)
        self.calls: list[tuple[str, dict[str, str]]] = []

    def service(self, handler_call_details: Any) -> Any:
        method, headers = handler_call_details.method, dict(handler_call_details.invocation_metadata)
        self.calls.append((method.rpartition("/")[2], headers))
        return grpc.unary_unary_rpc_method_handler(partial(self._answer, method, headers))

    def _answer(self, method: str, headers: Mapping[str, str], request: bytes, context: grpc.ServicerContext) -> Any:
        is_let_in = all(headers.get(key) == value for key, value in self._headers.items())
        number = next(self._inferences) if method.endswith(("Infer", "Predict")) else 0
        is_refused = number and self._refuse_every and number % self._refuse_every == 0
        if is_refused or not is_let_in:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"not known: {headers}")
        try:
            answer = self._behind.unary_unary(method)(request, timeout=_TIMEOUT_S)
            return self._spoil(number, answer) if number else answer
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    @property
    def methods(self) -> set[str]:
        return {method for method, _ in self.calls}


@contextmanager
def gateway(
    url: str,
    headers: Mapping[str, str],
    *,
    refuse_every: int = 0,
    spoil: Spoil = lambda _, answer: answer,
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[tuple[_Gateway, int]]:
    """The gateway to the server at a url, and its port on loopback."""
    server = grpc.server(ThreadPoolExecutor(16), options=_UNLIMITED)
    with closing(grpc.insecure_channel(url, options=_UNLIMITED)) as behind:
        handler = _Gateway(behind, headers, refuse_every, spoil)
        server.add_generic_rpc_handlers((handler,))
        where = "127.0.0.1:0"
        port = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
        server.start()
        try:
            yield handler, port
        finally:
            server.stop(0).wait()
