"""Servers that want TLS and headers: a real Triton with TLS, and a gateway in front of real servers."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from certificates import Authority, Signed
from gateway import gateway
from own_triton import own_triton
from real_parts import TritonUnderTest, crops, raybench

from raybench.clients.base import ClientError
from raybench.clients.grpc import connection_credentials
from raybench.clients.grpc.connection_credentials import ConnectionCredentials, Tls
from raybench.clients.tfserving_client import TfServingClient
from raybench.clients.triton_client import TritonClient
from raybench.servers import repository
from raybench.servers.repository import TritonOptions

MODEL = "mobilenet-no-opt"
SECRET, TENANT = "5Ecr3t-t0ken", "blue-tenant"
HEADERS = {"authorization": f"Bearer {SECRET}", "x-tenant": TENANT}


@dataclass(frozen=True)
class Secured:
    """A Triton that wants TLS and a certificate of the client's, at `localhost`."""

    port: int
    http_port: int
    authority: Authority
    other: Authority
    client: Signed

    def access(
        self, authority: Authority | None = None, signed: Signed | None = None, name: str | None = None
    ) -> ConnectionCredentials:
        """With its authority and client unless others are named."""
        ca, ours = (authority or self.authority).certificate, signed or self.client
        tls = Tls(
            ca=ca.read_bytes(), certificate=ours.certificate.read_bytes(), key=ours.key.read_bytes(), server_name=name
        )
        return ConnectionCredentials(tls=tls)

    @property
    def flags(self) -> list[object]:
        client = self.client
        return ["--tls-ca", self.authority.certificate, "--tls-cert", client.certificate, "--tls-key", client.key]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = Authority(folder), Authority(folder, "other")
    server = authority.signed("server", "localhost")
    flags = ["--grpc-use-ssl=1", "--grpc-use-ssl-mutual=1", f"--grpc-root-cert={authority.certificate}"]
    flags += [f"--grpc-server-cert={server.certificate}", f"--grpc-server-key={server.key}"]
    echo = repository.assemble(TritonOptions(models_conf=Path("none"), models=()), folder)
    with own_triton(echo, flags) as running:
        yield Secured(running.grpc_port, running.http_port, authority, other, authority.signed("client"))


def refusal(url: str, access: ConnectionCredentials) -> str:
    """Why a Triton at a url cannot be used."""
    with (
        closing(TritonClient(url, model="echo", signature="", credentials=access)) as client,
        pytest.raises(ClientError) as refused,
    ):
        client.describe()
    start = f"url triton={url}; no Triton answers: "
    assert str(refused.value).startswith(start)
    return str(refused.value).removeprefix(start)


def test_what_of_tls_does_not_fit_is_said(secured: Secured) -> None:
    """Each way in which TLS fails at a real Triton has its own sentence, with the remedy."""
    url = f"localhost:{secured.port}"
    without = ConnectionCredentials(tls=Tls(ca=secured.authority.certificate.read_bytes()))
    ended, foreign = secured.authority.signed("ended", days=-1), secured.other.signed("foreign")
    sentences = {
        "there is a server that wants TLS: give --tls-ca": refusal(url, connection_credentials.NO_CREDENTIALS),
        "the server wants a client certificate: give --tls-cert": refusal(url, without),
        "the server refuses the client certificate: give a --tls-cert": refusal(url, secured.access(signed=foreign)),
        "the server refuses the client certificate: give a --tls-cert that": refusal(url, secured.access(signed=ended)),
        "the server's certificate was not signed by the authority in": refusal(url, secured.access(secured.other)),
        "the server's certificate is not for 127.0.0.1: name its host": refusal(
            f"127.0.0.1:{secured.port}", secured.access()
        ),
        "there is an HTTP server, not a gRPC one": refusal(f"localhost:{secured.http_port}", secured.access()),
    }
    assert [said for start, said in sentences.items() if not said.startswith(start)] == []


def test_a_certificate_that_has_ended_is_said(tmp_path: Path) -> None:
    """So is a server's certificate that has ended, and a gRPC server without TLS where there should be some."""
    authority = Authority(tmp_path)
    credentials = grpc.ssl_server_credentials([authority.signed("server", "localhost", days=-1).pem])
    ours = ConnectionCredentials(tls=Tls(ca=authority.certificate.read_bytes()))
    with gateway("127.0.0.1:1", {}, credentials=credentials) as (_, port):
        assert "certificate is not valid now (certificate has expired): renew" in refusal(f"localhost:{port}", ours)
    with gateway("127.0.0.1:1", {}) as (_, port):
        assert "a gRPC server in plain text: leave out --tls-ca" in refusal(f"localhost:{port}", ours)


def test_the_name_of_the_certificate_may_be_given(secured: Secured) -> None:
    """By --tls-server-name a server is reached whose certificate names another host than the url."""
    url = f"127.0.0.1:{secured.port}"
    with closing(TritonClient(url, model="echo", signature="", credentials=secured.access(name="localhost"))) as client:
        assert client.describe().version == "2.51.0"


@pytest.mark.slow
def test_run_over_tls(secured: Secured, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A run against a real Triton that wants TLS and our certificate, with statistics; its rows say so."""
    url = f"triton=localhost:{secured.port}"
    run = raybench(
        "run", "-s", "triton", "--url", url, *secured.flags, "-m", "echo", "--workers", 2, "-b", 1,
        "--request-count", 16, cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    assert trial["requests"]["succeeded"] == 16
    assert trial["load"]["transport"] == "grpc over TLS"
    assert trial["server_time_ms"] is not None


def test_a_wrong_authority_is_one_sentence(secured: Secured, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """What is wrong with TLS is said in one line, without gRPC's own log, and exit 2; nothing is written."""
    flags = ["-s", "triton", "--url", f"triton=localhost:{secured.port}", "--tls-ca", secured.other.certificate]
    run = raybench("run", *flags, "-m", "echo", cwd=tmp_path, env=ray_environment)
    assert run.code == 2
    (line,) = run.err.splitlines()
    assert "not signed by the authority in --tls-ca" in line
    assert run.folder is None


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("gateway"))


@pytest.mark.slow
def test_no_secret_is_left(
    triton: TritonUnderTest, ray_environment: dict[str, str], certificates: Authority, tmp_path: Path
) -> None:
    """Every call to a Triton behind a gateway carries the headers: requests, statistics, shared memory, calibration.
    Neither their secrets nor our key are in what is printed or left, though the server says them again in errors."""
    server, client = certificates.signed("server", "localhost"), certificates.signed("client")
    credentials = grpc.ssl_server_credentials([server.pem], certificates.certificate.read_bytes(), True)
    with gateway(triton.url, HEADERS, refuse_every=10, credentials=credentials) as (guard, port):
        run = raybench(
            "run", "-s", "triton", "--url", f"triton=localhost:{port}", "-m", MODEL, "--models", triton.models,
            "--workers", 2, "-b", 1, "--request-count", 200, "--warmup-request-count", 2, "--no-verify",
            "--shared-memory", "system", "--calibrate",
            "--max-error-rate", 1,
            "-H", "authorization=Bearer $RAYBENCH_TEST_TOKEN", "-H", f"x-tenant={TENANT}",
            "--tls-ca", certificates.certificate, "--tls-cert", client.certificate, "--tls-key", client.key,
            cwd=tmp_path, env={**ray_environment, "RAYBENCH_TEST_TOKEN": SECRET},
        )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    assert (trial["status"], trial["headroom"] is None, trial["server_time_ms"] is None) == ("ok", False, False)
    assert trial["server"]["effective"]["merges"] is True
    assert trial["server"]["effective"]["tensorflow"]
    assert all(HEADERS.items() <= headers.items() for _, headers in guard.calls)
    assert guard.methods == {
        "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelStatistics", "ModelConfig", "RepositoryIndex",
        "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
    }  # fmt: skip
    assert run.folder
    key = client.key.read_bytes().splitlines()[1]
    left = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    texts = [run.out.encode(), run.err.encode(), *left.values()]
    said = [str(pq.read_table(path).to_pydict()) for path in left if path.suffix == ".parquet"]
    assert not any(SECRET.encode() in text or key in text for text in [*texts, *map(str.encode, said)])
    assert any("Bearer $RAYBENCH_TEST_TOKEN" in text for text in said)
    assert b"Bearer $RAYBENCH_TEST_TOKEN" in left[run.folder / "benchmark.yaml"]


def test_who_is_not_let_in_is_said(triton: TritonUnderTest) -> None:
    """A gateway that knows our headers not is no wrong port: the remedy is -H."""
    refusal = r"it needs the right headers \(UNAUTHENTICATED: .*\): give them with -H$"
    with (
        gateway(triton.url, HEADERS) as (_, port),
        closing(TritonClient(f"localhost:{port}", model="echo", signature="")) as client,
        pytest.raises(ClientError, match=refusal),
    ):
        client.describe()


def test_tensorflow_serving_gets_them_too(tfs_double: str, certificates: Authority) -> None:
    """Every call to a TensorFlow Serving behind a gateway goes by TLS, and carries the headers."""
    credentials = grpc.ssl_server_credentials([certificates.signed("server", "localhost").pem])
    ours = ConnectionCredentials(tls=Tls(ca=certificates.certificate.read_bytes()), headers=tuple(HEADERS.items()))
    with gateway(tfs_double, HEADERS, credentials=credentials) as (guard, port):
        with closing(
            TfServingClient(f"localhost:{port}", model=MODEL, signature="predict_images", credentials=ours)
        ) as client:
            client.describe()
            reply = client.send(client.encode({"images": crops(2)}), 30)
        assert reply.is_ok, reply.error
        assert np.isfinite(client.decode(reply)["scores"]).all()
        assert guard.methods == {"GetModelStatus", "GetModelMetadata", "Predict"}
