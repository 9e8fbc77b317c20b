"""`raybench serve triton`: a server for people, and for runs that name it by url."""

import os
import signal
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import tritonclient.grpc as triton_grpc
from real_parts import BIN, Family, TritonUnderTest, raybench, wait_for_line

from raybench.clients.triton_client import TritonClient


def test_serve_triton(models: Path, tmp_path: Path) -> None:
    """`raybench serve triton` prints its urls and `ready`, answers there, and takes its stubs along on SIGTERM."""
    command = [BIN / "raybench", "serve", "triton", "--models", models, "-m", "scale", "--port", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    lines = wait_for_line(process, "ready")
    url = next(line.split()[1] for line in lines if line.startswith("grpc"))
    with triton_grpc.InferenceServerClient(url) as client:
        assert client.is_model_ready("saved_model")
    family = Family(process.pid)
    assert family.named("triton_python")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert family.is_gone()


@pytest.mark.slow
def test_a_folder_is_served_under_its_name(models: Path, tmp_path: Path) -> None:
    """`serve triton -m NAME=FOLDER` serves a SavedModel that no models.conf names, and leaves nothing behind."""
    command = [BIN / "raybench", "serve", "triton", "-m", f"mine={models / 'scale'}", "--port", "0"]
    before = set(Path(tempfile.gettempdir()).glob("raybench-models-*"))
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        lines = wait_for_line(process, "ready")
        url = next(line.split()[1] for line in lines if line.startswith("grpc"))
        with closing(TritonClient(url, model="mine", signature="")) as client:
            assert client.describe().signatures
    finally:
        process.terminate()
        code = process.wait(timeout=60)
    assert code == 0
    assert set(Path(tempfile.gettempdir()).glob("raybench-models-*")) <= before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_killed_serve_leaves_nothing(models: Path, tmp_path: Path) -> None:
    """Triton and its stubs end by themselves when the raybench that started them is killed."""
    command = [BIN / "raybench", "serve", "triton", "--models", models, "-m", "scale", "--port", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    wait_for_line(process, "ready")
    family = Family(process.pid)
    assert family.named("triton_python")
    process.kill()
    process.wait(timeout=10)
    assert family.is_gone()


def test_port_of_another_is_refused(triton: TritonUnderTest, models: Path, tmp_path: Path) -> None:
    """`serve` never says ready for a server that somebody else runs on its port."""
    port = triton.url.rpartition(":")[2]
    served = raybench("serve", "triton", "--models", models, "--port", port, cwd=tmp_path, env=dict(os.environ))
    assert served.code == 2
    assert "ready" not in served.out
    assert f"port is {port}" in served.err
