"""A company's proxy is for the web: what raybench asks of a server goes straight to it, as the load does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest
from real_parts import COMPANY_NETWORK
from tritonclient.grpc import service_pb2

from raybench.clients.triton_service import triton_service
from raybench.servers import triton_server

ANSWERS = {"ServerLive": service_pb2.ServerLiveResponse(live=True), "ModelReady": service_pb2.ModelReadyResponse()}
READY = service_pb2.ServerReadyResponse(ready=True)


class Handler(grpc.GenericRpcHandler):
    """Whatever is asked, it is there."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        answer = ANSWERS.get(details.method.rpartition("/")[2], READY).SerializeToString()
        return grpc.unary_unary_rpc_method_handler(lambda *_: answer)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a gRPC server answers, in the surroundings of a company network."""
    for name, value in COMPANY_NETWORK.items():
        monkeypatch.setenv(name, value)
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = grpc.server(ThreadPoolExecutor(2), handlers=(Handler(),))
    port = made.add_insecure_port("127.0.0.1:0")
    made.start()
    yield f"127.0.0.1:{port}"
    made.stop(0)


def test_control_calls_go_direct(server: str) -> None:
    """Metadata and control calls pass by every proxy variable: they ask the server that the load goes to."""
    with closing(triton_service(server)) as channel:
        assert channel.ask("ServerLive").live


def test_a_server_that_starts_is_asked_direct(server: str) -> None:
    """So does the question whether a Triton that we started is ready, which would else wait for its whole deadline."""
    with triton_server.client(server) as client:
        assert client.is_server_ready(client_timeout=20)
