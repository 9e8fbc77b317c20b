"""Shared parts: exported models, one real Triton and one real Ray for the whole session."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_clusters import head
from real_parts import BIN, DOUBLE, TritonUnderTest, add_tiny_models, export_xla, wait_for_line

from raybench.models.saved_models import ModelConfig, format_models_conf, read_models_conf
from raybench.servers.server_process import free_ports
from raybench.servers.triton_server import TritonOptions, running_triton

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
    with head(tmp_path_factory.mktemp("home"), "--num-cpus=8", "--include-dashboard=false") as environment:
        yield environment
