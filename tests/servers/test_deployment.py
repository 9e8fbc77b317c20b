"""The files that a tuning leaves, deployed as a user would: by the script beside them."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from real_parts import add_stand_in, eventually

from raybench.clients.base import Client, ClientError
from raybench.clients.tfserving_client import TfServingClient
from raybench.clients.triton_client import TritonClient
from raybench.config import ServerSpec
from raybench.config.server_settings import ServerSettings
from raybench.servers import ServeOptions, WarmUp, wheel
from raybench.servers.deployment import SCRIPT, VARIABLES, write_deployment
from raybench.servers.server_process import free_ports

_ONES = {"x": np.ones((2, 2), np.float32)}
_SETTINGS = ServerSettings(merge_max=8, merge_delay=500, intra_op_threads=1)
_START_S = 120.0


@contextmanager
def deployed(folder: Path, *flags: str, env: Mapping[str, str]) -> Iterator[None]:
    """The script of a deployment, running; stopped as a terminal stops it."""
    command = [str(folder / SCRIPT), *flags]
    process = subprocess.Popen(command, env={**os.environ, **env}, cwd="/", start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def answers(client: Client) -> bool:
    """Whether a server answers with the multiple that the model makes of ones."""
    try:
        reply = client.send(client.encode(_ONES), 5.0)
    except ClientError:  # it does not listen yet
        return False
    if not reply.is_ok:
        return False
    found = client.decode(reply)["y"]
    return found.shape == (2, 2) and bool((found == found[0, 0]).all()) and found[0, 0] > 1


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["multi", "per-model"])
def test_a_triton_is_deployed_by_its_script(layout: str, models: Path, tmp_path: Path) -> None:
    """`deploy/serve.sh` starts a Triton with the settings that were measured: it answers, and says its threads."""
    server = ServerSpec(kind="triton", layout=layout, settings=_SETTINGS)
    warm_up = (WarmUp("scale", "times", _ONES),)  # as a tuning has it: what is measured, a per-model Triton declares
    options = ServeOptions(models_conf=models / "models.conf", models=("scale",), warm_up=warm_up)
    write_deployment(server, options, tmp_path / "deploy")
    name = "saved_model" if layout == "multi" else "scale"
    assert [each.name for each in (tmp_path / "deploy" / "repository").iterdir()] == [name]
    config = (tmp_path / "deploy" / "repository" / name / "config.pbtxt").read_text()
    assert "max_queue_delay_microseconds: 500" in config
    grpc, http, metrics = free_ports(3)
    tritonserver = wheel.find()
    backends = wheel.assemble_backends(tritonserver, tmp_path / "backends")
    env = {**wheel.environment(tritonserver), "TRITONSERVER": str(tritonserver / "bin" / "tritonserver")}
    ports = (f"--grpc-port={grpc}", f"--http-port={http}", f"--metrics-port={metrics}")
    with deployed(tmp_path / "deploy", f"--backend-directory={backends}", *ports, env=env):
        client = TritonClient(f"127.0.0.1:{grpc}", model="scale", signature="times", is_direct=layout == "per-model")
        assert eventually(lambda: answers(client), _START_S)
        if layout == "multi":
            assert client.about()["intra_op_threads"] == 1


def test_a_tensorflow_serving_is_deployed_by_its_script(models: Path, tmp_path: Path) -> None:
    """`deploy/serve.sh` starts a TensorFlow Serving with its batching file and threads; the double refuses what the
    real one does not know."""
    server = ServerSpec(kind="tfserving", settings=_SETTINGS)
    options = ServeOptions(models_conf=models / "models.conf", models=("scale",))
    write_deployment(server, options, tmp_path / "deploy")
    assert "max_batch_size { value: 8 }" in (tmp_path / "deploy" / "batching.config").read_text()
    assert "--tensorflow_intra_op_parallelism=1" in (tmp_path / "deploy" / SCRIPT).read_text()
    grpc, rest = free_ports(2)
    env = {**add_stand_in(tmp_path), "PORT": str(grpc), "REST_PORT": str(rest)}
    with deployed(tmp_path / "deploy", env=env):
        client = TfServingClient(f"127.0.0.1:{grpc}", model="scale", signature="times")
        assert eventually(lambda: answers(client), _START_S)


def test_tensorflow_in_process_is_deployed_by_its_environment(models: Path, tmp_path: Path) -> None:
    """`deploy/environment` holds the variables that set TensorFlow's threads."""
    options = ServeOptions(models_conf=models / "models.conf", models=("scale",))
    write_deployment(ServerSpec(kind="local", settings=_SETTINGS), options, tmp_path / "deploy")
    assert (tmp_path / "deploy" / VARIABLES).read_text() == "TF_NUM_INTRAOP_THREADS=1\n"
