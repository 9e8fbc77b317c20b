"""A company's proxy is for the web: what raybench asks of a server goes straight to it, as the load does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from certificates import Authority
from real_parts import COMPANY_NETWORK
from tritonclient.grpc import service_pb2

from raybench.clients.grpc.channel import Channel
from raybench.clients.grpc.connection_credentials import ConnectionCredentials, Tls
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


def test_the_load_goes_direct(server: str) -> None:
    """So does the load: both take the same path, and a number never describes a proxy that nobody named."""
    with closing(Channel(server)) as channel:
        reply = channel.method("/inference.GRPCInferenceService/ServerLive")(b"", 20)
        assert service_pb2.ServerLiveResponse.FromString(reply.body).live


@pytest.mark.usefixtures("server")
def test_control_calls_go_direct_over_tls(tmp_path: Path) -> None:
    """TLS changes nothing about it: here the variable for https counts."""
    authority = Authority(tmp_path)
    made = grpc.server(ThreadPoolExecutor(2), handlers=(Handler(),))
    pem = authority.signed("server", "localhost").pem
    port = made.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pem]))
    made.start()
    credentials = ConnectionCredentials(tls=Tls(ca=authority.certificate.read_bytes()))
    with closing(triton_service(f"localhost:{port}", credentials)) as service:
        assert service.ask("ServerLive").live
    with closing(Channel(f"localhost:{port}", credentials)) as channel:
        assert channel.method("/inference.GRPCInferenceService/ServerLive")(b"", 20).is_ok
    made.stop(0)


def test_a_server_that_starts_is_asked_direct(server: str) -> None:
    """So does the question whether a Triton that we started is ready, which would else wait for its whole deadline."""
    with triton_server.client(server) as client:
        assert client.is_server_ready(client_timeout=20)
