"""Shared parts: exported models, one real Triton and one real Ray for the whole session."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_parts import BIN, DOUBLE, TritonUnderTest, add_tiny_models, export_xla, ray_shell, wait_for_line

from raybench.saved_models import ModelConfig, format_models_conf, read_models_conf
from raybench.servers.process import free_ports
from raybench.servers.triton import TritonOptions, running_triton

_RAY_TIMEOUT_S = 90
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and its children would too


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder: two exported architectures, and tiny models with known arithmetic."""
    folder = tmp_path_factory.mktemp("models")
    command = [BIN / "raybench", "export", "efficientnetb0", "mobilenet", "--variants", "no-opt", "--out", folder]
    subprocess.run(command, check=True, timeout=240, capture_output=True)
    add_tiny_models(folder)
    return folder


@pytest.fixture(scope="session")
def triton(models: Path) -> Iterator[TritonUnderTest]:
    """A real Triton that serves everything in `models`."""
    with running_triton(TritonOptions(models_conf=models / "models.conf")) as running:
        yield TritonUnderTest(running.grpc_url, models, running.process, running.http_url)


@pytest.fixture(scope="session")
def tfs_double(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a double answers as TensorFlow Serving does without XLA: `models`, and `tiny-xla` which needs it."""
    folder = tmp_path_factory.mktemp("double")
    export_xla(folder / "tiny-xla" / "1")
    served = {model.name: model for model in read_models_conf(models / "models.conf") if model.name != "clash"}
    tiny = ModelConfig(name="tiny-xla", base_path=folder / "tiny-xla")
    (folder / "models.conf").write_text(format_models_conf((*served.values(), tiny)))
    (port,) = free_ports(1)
    command = [sys.executable, DOUBLE, f"--model_config_file={folder / 'models.conf'}", f"--port={port}"]
    double = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        wait_for_line(double, "the double answers")
        yield f"127.0.0.1:{port}"
    finally:
        double.terminate()
        double.wait(timeout=20)


@pytest.fixture(scope="session")
def ray_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a shell from which a Ray cluster of 8 CPUs, started by others, is reached."""
    home = tmp_path_factory.mktemp("home")
    environment = ray_shell(home)
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=8", "--port=0", "--include-dashboard=false"]
    log = home / "ray.log"
    with log.open("wb") as output:
        head = subprocess.Popen([*command, "--disable-usage-stats"], stdout=output, stderr=output, env=environment)
    try:
        yield {**environment, "RAY_ADDRESS": _address(head, log)}
    finally:
        head.terminate()
        head.wait(timeout=60)


def _address(head: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + _RAY_TIMEOUT_S
    while time.monotonic() < deadline and head.poll() is None:
        for line in log.read_text(errors="replace").splitlines():
            if "--address='" in line:
                return line.partition("--address='")[2].partition("'")[0]
        time.sleep(0.2)
    raise RuntimeError(f"Ray did not start: {log.read_text(errors='replace')}")
