"""Workers and nodes that are lost in the middle of a run, on several raylets and over two hosts; and their clocks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from contract import violations
from midway import announced, ended, started
from ray_clusters import shell
from real_parts import BIN, eventually, newest_results, wait_for_line
from two_hosts import Host, linked, ray_on

AHEAD_NS = 250_000_000
IMAGE_BYTES = 224 * 224 * 3
SHIFTED = f"import time\nnow_ns = time.time_ns\ntime.time_ns = lambda: now_ns() + {AHEAD_NS}\n"
RAYLETS = """
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
node = cluster.add_node(num_cpus=2)
print("address", cluster.address, flush=True)
input()
cluster.remove_node(node, allow_graceful=False)
input()
cluster.shutdown()
"""


@dataclass(frozen=True)
class Hosts:
    """A head that runs Ray, and a host that can join it; `environment` is that of a shell on both."""

    head: Host
    far: Host
    environment: dict[str, str]
    folder: Path

    @contextmanager
    def joined(self, cpus: int, **environment: str) -> Iterator[None]:
        """The far host is a node of the cluster until the block ends."""
        words = (f"--address={self.head.address}:6379", f"--num-cpus={cpus}")
        log = self.folder / "far.log"
        with ray_on(self.far, *words, environment={**self.environment, **environment}, log=log):
            try:
                yield
            finally:
                self.far.plug("up")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Two hosts with a Ray of 3 CPUs on the first, which gives up a silent node after 20 s, not some more."""
    folder = tmp_path_factory.mktemp("hosts")
    health = {f"RAY_health_check_{name}_ms": "2000" for name in ("period", "timeout")}
    environment = {**shell(folder), **health}
    words = ("--head", "--port=6379", "--num-cpus=3", "--include-dashboard=false")
    with linked() as (head, far), ray_on(head, *words, environment=environment, log=folder / "head.log"):
        yield Hosts(head, far, environment, folder)


def fake(workers: int, *others: object) -> tuple[object, ...]:
    return ("-s", "fake", "--url", "fake=service_ms=5", "--workers", workers, "--ui", "plain", *others)


def at(hosts: Hosts) -> tuple[object, ...]:
    return ("--address", f"{hosts.head.address}:6379")


def lost(trial: Any) -> list[int]:
    return [worker["worker"] for worker in trial["workers"] if worker["lost"]]


def far_workers(trial: Any, hosts: Hosts) -> list[int]:
    return [worker["worker"] for worker in trial["workers"] if worker["node"] == hosts.far.name]


def seconds_sent(cwd: Path, trial: Any, worker: int) -> float:
    """From a worker's first measured send to its last reply."""
    folder = newest_results(cwd)
    assert folder
    rows = pq.read_table(folder / "samples" / f"{trial['id']}.parquet")
    mine = rows.filter(pc.and_(pc.equal(rows["worker"], worker), pc.equal(rows["phase"], "measured")))
    return float(pc.max(mine["done_ns"]).as_py() - pc.min(mine["sent_ns"]).as_py()) / 1e9


def is_cut(cwd: Path, trial: Any) -> None:
    """The samples of lost workers until about the loss are kept, the window ends there, and the others went on."""
    assert trial["status"] == "degraded"
    kept_s = [seconds_sent(cwd, trial, worker) for worker in lost(trial)]
    rest_s = [seconds_sent(cwd, trial, each["worker"]) for each in trial["workers"] if not each["lost"]]
    assert min(kept_s) > 2
    assert trial["window_s"] == pytest.approx(min(kept_s), abs=0.2)
    assert min(rest_s) > max(kept_s) + 2
    assert trial["throughput"]["requests_per_s"] > 0


@pytest.mark.slow
def test_a_run_may_start_on_any_node(hosts: Hosts, tmp_path: Path) -> None:
    """A driver on a node that is not the head joins that node, also where it sees the head's processes: no hang."""
    command = [*hosts.far.words, BIN / "raybench", "run", *at(hosts), *fake(4, "--request-count", 40, "-b", 1)]
    words = [str(word) for word in command]
    with hosts.joined(cpus=3):
        done = subprocess.run(
            words, cwd=tmp_path, env=hosts.environment, capture_output=True, text=True, timeout=150, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_node_that_is_cut_off(hosts: Hosts, tmp_path: Path) -> None:
    """A node whose link goes down is lost after --heartbeat-timeout; what it sent is kept, the window ends there, and
    the next trial runs on the nodes that are left, with images that had lain on it."""
    arguments = (*at(hosts), *fake(3, "--duration", 10, "--rounds", 2, "--heartbeat-timeout", 3))
    with (
        hosts.joined(cpus=3),
        started(*arguments, cwd=tmp_path, env=hosts.environment, host=hosts.head.words) as process,
    ):
        hosts.far.plug("down")
        code, out, summary = ended(process, tmp_path, hosts.environment)
    assert code == 0, out
    first, second = summary["trials"]
    assert lost(first) == far_workers(first, hosts) != []
    assert "no sign of life for 3 s" in first["reason"]
    is_cut(tmp_path, first)
    assert [worker["clock_drift_ns"] is None for worker in first["workers"]] == [
        bool(worker["lost"]) for worker in first["workers"]
    ]
    assert "a node is gone: making the inputs again" in out
    assert second["status"] in ("ok", "unstable"), second["reason"]
    assert far_workers(second, hosts) == []
    assert violations(summary) == []


@pytest.mark.slow
def test_clocks_and_a_node_that_dies(hosts: Hosts, tmp_path: Path) -> None:
    """Workers on two hosts send together though one's clock is ahead, which is found within half a round trip; images
    and samples cross the link; a node that dies degrades its trial alone."""
    (tmp_path / "sitecustomize.py").write_text(SHIFTED)
    before = (hosts.head.sent_bytes, hosts.far.sent_bytes)
    arguments = (*at(hosts), *fake(4, "--duration", 8, "--rounds", 2, "--images", "noise"))
    with (
        hosts.joined(cpus=2, PYTHONPATH=str(tmp_path)),
        started(*arguments, cwd=tmp_path, env=hosts.environment, host=hosts.head.words) as process,
    ):
        assert eventually(lambda: (announced(tmp_path) or {}).get("round") == 2, 60)
        time.sleep(4)
        sent = (hosts.head.sent_bytes - before[0], hosts.far.sent_bytes - before[1])
        hosts.far.kill()
        code, out, summary = ended(process, tmp_path, hosts.environment)
    assert code == 0, out
    whole, cut = summary["trials"]
    assert whole["status"] in ("ok", "unstable"), whole["reason"]
    far = far_workers(whole, hosts)
    assert 0 < len(far) < 4
    for worker in whole["workers"]:
        ahead_ns = AHEAD_NS if worker["worker"] in far else 0
        assert abs(worker["clock_offset_ns"] - ahead_ns) <= worker["clock_uncertainty_ns"]
        assert abs(worker["clock_drift_ns"]) <= worker["clock_round_trip_ns"]
        assert worker["clock_round_trip_ns"] < 50e6
    assert whole["gate_skew_ms"] < 100
    assert whole["window_s"] > 7.5
    encoded = sum(worker["payload_requests"] * worker["payload_request_bytes"] for worker in whole["workers"])
    assert sum(sent) > encoded / 4  # half of the images at least went to a host that had not made them
    assert min(sent) > 100_000
    assert lost(cut) == far_workers(cut, hosts) != []
    is_cut(tmp_path, cut)


@pytest.mark.slow
def test_too_few_cpus_are_left(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Where a node is gone and what is left has no room for the workers, the next trial says so, and nothing hangs."""
    environment = {name: value for name, value in ray_environment.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-c", RAYLETS]
    raylets = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert raylets.stdin
    try:
        address = wait_for_line(raylets, "address")[-1].split()[-1]
        arguments = ("--address", address, *fake(4, "--duration", 9, "--rounds", 2))
        with started(*arguments, cwd=tmp_path, env=environment) as process:
            raylets.stdin.write("\n")
            raylets.stdin.flush()
            code, out, summary = ended(process, tmp_path, environment)
        raylets.communicate("\n", timeout=30)
    finally:
        raylets.kill()
        raylets.wait()
    assert code == 1, out
    first, second = summary["trials"]
    assert len(lost(first)) == 2
    is_cut(tmp_path, first)
    assert second["status"] == "failed"
    assert (
        second["reason"] == "4 workers need a CPU each, but the Ray cluster has 2 left: add nodes, or use fewer workers"
    )


@pytest.mark.slow
def test_a_loss_stops_the_run(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """With --on-loss stop a worker that stands still ends its trial, which is kept, and the run, with a sentence."""
    arguments = fake(3, "--duration", 60, "--rounds", 2, "--heartbeat-timeout", 2, "--on-loss", "stop")
    with started(*arguments, cwd=tmp_path, env=ray_environment) as process:
        os.kill(announced(tmp_path)["workers"][1]["pid"], signal.SIGSTOP)
        stopped_s = time.monotonic()
        code, out, summary = ended(process, tmp_path, ray_environment)
    assert time.monotonic() - stopped_s < 40
    assert code == 1, out
    assert "Error: lost worker 1: no sign of life for 2 s; the run ends (on-loss is stop)" in out
    (trial,) = summary["trials"]
    assert trial["status"] == "degraded"
    assert lost(trial) == [1]


def test_hosts_are_removed() -> None:
    """Hosts that a test made, and what runs on them, are gone after it, also where it failed."""
    made, left = [], []

    def fails() -> None:
        with linked() as hosts:
            made.extend(host.name for host in hosts)
            there = [*hosts[1].words, "sh", "-c", "echo there; exec sleep 60"]
            left.append(subprocess.Popen(there, stdout=subprocess.PIPE, text=True))
            wait_for_line(left[0], "there")  # before that it is on no host yet
            raise RuntimeError("the test failed")

    with pytest.raises(RuntimeError, match="the test failed"):
        fails()
    assert left[0].wait(timeout=5) == -signal.SIGKILL
    there = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert set(made) & set(there.split()) == set()
