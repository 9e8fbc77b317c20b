"""What is installed works without this checkout; what must not be there is refused."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from real_parts import BIN, raybench

from raybench.servers.server_process import ServerError
from raybench.servers.triton_server import TritonOptions, running_triton

ROOT = Path(__file__).parents[2]


def test_lock_has_hashes_and_no_address() -> None:
    """requirements.lock pins exact versions with hashes and holds no address of any package index."""
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^[a-z0-9][\w.-]*(?:\[[\w,]+\])?==[^ ]+ .*\\\n    --hash=sha256:", lock, re.M)
    requirements = [line for line in lock.splitlines() if re.match(r"[a-z0-9]", line)]
    assert len(pins) == len(requirements) > 50
    assert "://" not in lock
    assert "--index" not in lock


def test_wheel_has_every_file(tmp_path: Path) -> None:
    """The wheel holds every file of both packages: the modules, the schema of summary.json and the Triton models."""
    command = [BIN / "uv", "build", "--offline", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "-o", tmp_path, ROOT], check=True, timeout=120, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("raybench-*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = (path for package in ("raybench", "triton_models") for path in (ROOT / package).rglob("*"))
    assert packed == {str(f.relative_to(ROOT)) for f in files if f.is_file() and "__pycache__" not in f.parts}


@pytest.mark.slow
def test_wheel_does_the_main_job(exported: Path, tmp_path: Path) -> None:
    """The wheel, installed without the checkout, brings triton_models and runs against its own Triton."""
    uv, venv = BIN / "uv", tmp_path / "venv"
    python = venv / "bin" / "python"
    wheels = [uv, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", tmp_path, ROOT]
    lock = ["--require-hashes", "-r", ROOT / "requirements.lock"]
    subprocess.run(wheels, check=True, timeout=120, capture_output=True)
    subprocess.run([uv, "venv", "--python", sys.executable, venv], check=True, timeout=60, capture_output=True)
    install = [uv, "pip", "install", "--system-certs", "--python", python]
    subprocess.run([*install, *lock], check=True, timeout=600, capture_output=True)
    wheel = next(tmp_path.glob("raybench-*.whl"))
    subprocess.run([*install, "--no-deps", "--offline", wheel], check=True, timeout=60, capture_output=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    run = raybench(
        "run", "--workers", 2, "--models", exported, "-m", "mobilenet-no-opt", "-b", 2, "--request-count", 20,
        cwd=empty, env={**os.environ, "HOME": str(tmp_path)}, bin_folder=venv / "bin",
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    assert {trial["status"] for trial in run.summary["trials"]} == {"ok"}


@pytest.mark.slow
def test_numpy_2_is_refused(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Triton whose python backend would find numpy 2 does not start, and the sentence says why."""
    venv = tmp_path / "venv"
    uv = BIN / "uv"
    subprocess.run([uv, "venv", "--python", sys.executable, venv], check=True, timeout=60, capture_output=True)
    install = [uv, "pip", "install", "--system-certs", "--python", venv / "bin" / "python", "numpy>=2,<2.4"]
    subprocess.run(install, check=True, timeout=120, capture_output=True)
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    options = TritonOptions(models_conf=models / "models.conf", models=("scale",))
    with pytest.raises(ServerError, match=r"numpy 2.*install 'numpy<2'"), running_triton(options):
        pass
