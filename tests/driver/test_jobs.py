"""Ray clusters of others: runs that join one, and runs that are submitted to one as jobs."""

import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray_clusters import head
from real_parts import BIN, eventually, newest_results, raybench

from raybench.servers.server_process import free_ports

pytestmark = pytest.mark.slow
QUICK = "server: fake\nurl: {fake: service_ms=5}\nworkers: 2\nbatch-size: 1\nrequest-count: 40\n"
EXCLUDES = json.dumps({"excludes": ["models", "results"]})
MODEL = "mobilenet-no-opt"
OTHER_VERSIONS = """
import json, ray
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
from ray.experimental.internal_kv import _internal_kv_put
ray.init(log_to_driver=False)
other = json.dumps({"ray_version": "2.9.3", "python_version": "3.9.18"}).encode()
_internal_kv_put(CLUSTER_METADATA_KEY, other, overwrite=True, namespace=KV_NAMESPACE_CLUSTER)
"""


@pytest.fixture(scope="module")
def dashboard() -> str:
    (port,) = free_ports(1)
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def jobs(dashboard: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A shell beside a Ray cluster of four CPUs that takes jobs at `dashboard`, from those who have its token."""
    flags = ("--num-cpus=4", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard.rpartition(':')[2]}")
    with head(tmp_path_factory.mktemp("home"), *flags) as environment:
        yield {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}


def ray_job(*arguments: str, dashboard: str, cwd: Path, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """`ray job ...` as a user types it."""
    command = [str(BIN / "ray"), "job", arguments[0], "--address", dashboard, *arguments[1:]]
    return subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200, check=False
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working directory with a benchmark, and with models that a job should not carry."""
    folder = tmp_path / "work"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "models.conf").write_text("")
    (folder / "quick.yaml").write_text(QUICK)
    return folder


def test_a_job_that_succeeds(work: Path, dashboard: str, jobs: dict[str, str], tmp_path: Path) -> None:
    """A run that is submitted as a job prints its table into the job's logs, and its results land where --out says."""
    entrypoint = ("raybench", "run", "quick.yaml", "--out", str(tmp_path / "results"))
    flags, began_s = ("--working-dir", ".", "--runtime-env-json", EXCLUDES), time.time()
    done = ray_job("submit", *flags, "--", *entrypoint, dashboard=dashboard, cwd=work, env=jobs)
    assert done.returncode == 0, done.stdout
    assert "succeeded" in done.stdout
    assert "efficientnetb0-no-opt: 1 images per request" in done.stdout
    folder = newest_results(tmp_path)
    assert folder
    (trial,) = json.loads((folder / "summary.json").read_text())["trials"]
    assert (trial["status"], trial["requests"]["succeeded"]) == ("ok", 40)
    unpacked = Path("/tmp/ray").glob("session_*/runtime_resources/working_dir_files/*/quick.yaml")
    copies = [copy for copy in unpacked if copy.stat().st_mtime >= began_s]
    assert copies
    assert not any((copy.parent / "models").exists() for copy in copies)


def test_a_job_that_fails(work: Path, dashboard: str, jobs: dict[str, str]) -> None:
    """A wrong configuration makes the job FAILED, with its sentence in the logs."""
    entrypoint = ("raybench", "run", "quick.yaml", "--workers", "9")
    flags = ("--working-dir", ".", "--runtime-env-json", EXCLUDES)
    done = ray_job("submit", *flags, "--", *entrypoint, dashboard=dashboard, cwd=work, env=jobs)
    assert done.returncode != 0
    assert "failed" in done.stdout
    assert "Error: workers is 9, and the Ray cluster has 4 free CPUs of 4" in done.stdout


@pytest.mark.parametrize("wait_s", ["3", "0"])
def test_a_job_that_is_stopped(
    wait_s: str, models: Path, work: Path, dashboard: str, jobs: dict[str, str], tmp_path: Path
) -> None:
    """Stopping a job ends its server and its workers and leaves no shared memory, though Ray kills it, supervisors too,
    after 3 s or at once; what was measured until then is in the report, and the Ray of others lives on."""
    entrypoint = ["raybench", "run", "-s", "triton", "--models", str(models), "-m", MODEL, "-b", "1", "--workers", "2"]
    entrypoint += ["--duration", "15", "--rounds", "2", "--out", str(tmp_path / "results")]
    brought = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": wait_s}})
    job = f"stopped-after-{wait_s}"
    flags = ("--runtime-env-json", brought, "--no-wait", "--submission-id", job)
    ray_job("submit", *flags, "--", *entrypoint, dashboard=dashboard, cwd=work, env=jobs)
    assert eventually(lambda: bool(in_second_trial(tmp_path)), 150)
    took_part = in_second_trial(tmp_path)
    (host,) = {parent.ppid() for each in took_part if (parent := each.parent()) and each.name() == "tritonserver"}
    shared = list(Path("/dev/shm").glob(f"raybench-{host}-*"))
    assert shared
    time.sleep(1)
    done = ray_job("stop", job, dashboard=dashboard, cwd=work, env=jobs)
    assert "was stopped" in done.stdout, done.stdout
    assert psutil.wait_procs(took_part, timeout=20)[1] == []
    assert eventually(lambda: not any(path.exists() for path in shared))
    folder = newest_results(tmp_path)
    assert folder
    again = raybench("report", folder, cwd=tmp_path, env=jobs)
    first, second = [trial["status"] for trial in again.summary["trials"]]
    assert first in ("ok", "unstable")  # as steady as this machine is
    assert second == "interrupted"
    still = ray_job("status", job, dashboard=dashboard, cwd=work, env=jobs)
    assert "was stopped" in still.stdout


def in_second_trial(cwd: Path) -> list[psutil.Process]:
    """The processes of server and workers of a trial that is being measured, which is not the first one."""
    folder = newest_results(cwd)
    running = folder / "running.json" if folder else None
    if not (folder and running and running.exists() and list((folder / "trials").glob("*.json"))):
        return []
    record = json.loads(running.read_text())
    pids = [*map(int, record["processes"]["server"]), *(worker["pid"] for worker in record["workers"])]
    return list(map(psutil.Process, pids))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A shell beside a Ray cluster whose Python has all that raybench needs, but not raybench."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True, timeout=60)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n")  # the .pth files in there are not read
    python = folder / "venv" / "bin" / "python"
    with head(folder, "--num-cpus=2", "--include-dashboard=false", python=python) as environment:
        yield environment


def test_a_cluster_without_raybench(bare: dict[str, str], tmp_path: Path) -> None:
    """A cluster whose nodes lack raybench is refused in a sentence that says how a job brings it along."""
    assert refusal(bare, tmp_path).startswith("Error: raybench is not on the Ray cluster's node")
    assert "--runtime-env-json" in refusal(bare, tmp_path)


def test_a_cluster_of_other_versions(bare: dict[str, str], tmp_path: Path) -> None:
    """A cluster of another Ray, on another Python, is refused in a sentence with all versions."""
    subprocess.run([sys.executable, "-c", OTHER_VERSIONS], env=bare, check=True, timeout=60)
    line = refusal(bare, tmp_path)
    assert "that cluster has Ray 2.9.3 on Python 3.9.18, this host Ray" in line
    assert "ray job submit" in line


def refusal(env: dict[str, str], cwd: Path) -> str:
    """The one line with which a run is refused."""
    done = raybench("run", "-s", "fake", "--workers", 1, "--request-count", 100, cwd=cwd, env=env)
    assert done.code == 2, done.err + done.out
    return done.err.splitlines()[-1]
