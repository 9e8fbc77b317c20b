"""Ray: join the cluster that is named, or start one on this machine; stopped on the way out where it is ours."""

import logging
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from glob import escape
from typing import Any

os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # workers use the prepared environment as it is
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# At Ray's own 15 workers wait for the server whenever cores are scarce.
os.environ.setdefault("RAY_worker_niceness", "0")

# At Ray's own -1 a task whose worker Ray ends for want of memory is made again for ever.
os.environ.setdefault("RAY_task_oom_retries", "3")
# At Ray's own 10 s a short trial is over before a dashboard shows it.
os.environ.setdefault("RAY_metrics_report_interval_ms", "1000")

import ray

from raybench.clients.grpc.probe import is_here
from raybench.config import Benchmark, ConfigError
from raybench.driver.node_versions import check_raybench
from raybench.driver.placement import Say, await_cpus
from raybench.driver.ray_nodes import alive, here
from raybench.driver.ray_prerequisites import RAY_REMEDY, ray_folder
from raybench.processes import new_folder, sweeping_processes

_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")  # of ray._private.utils.check_version_info
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
_LONGEST_SAID = 300
_SESSION = f"*/session_*_{os.getpid()}/*"  # Ray names the folder of its logs after the process that starts it


@dataclass(frozen=True)
class Cluster:
    """A Ray that is connected; `is_ours` says whether we started it.

    The `session_folder` is where Ray keeps its logs and sockets on this host.
    """

    dashboard_url: str | None
    is_ours: bool
    nodes: int
    cpus: int
    gpus: int
    session_folder: str


def address_of(benchmark: Benchmark) -> str | None:
    """The address of the Ray cluster that the user names; None where raybench starts its own."""
    return benchmark.address or os.environ.get("RAY_ADDRESS") or None


@contextmanager
def connected(benchmark: Benchmark, say: Say) -> Iterator[Cluster]:
    """Connect to `--address` or RAY_ADDRESS, else start Ray here with CPUs for every worker, which ends with us.

    Raises ConfigError where a cluster that others started does not answer, is not fit to run raybench, or has too few
    CPUs for the workers after `--wait-for-workers`.
    """
    address = address_of(benchmark)
    on_term = signal.getsignal(signal.SIGTERM)
    with _joined(address) if address else _started(benchmark) as context:
        signal.signal(signal.SIGTERM, on_term)  # Ray puts its own in place, which drops what was measured
        try:
            _check_hosts(benchmark)
            if address:
                check_raybench([node for node in alive() if node.cpus or node.id == here()])
                await_cpus(benchmark.most_workers, benchmark.wait_for_workers, say)
            yield _described(context, is_ours=not address)
        finally:
            ray.shutdown()


def _described(context: Any, *, is_ours: bool) -> Cluster:
    resources = ray.cluster_resources()
    return Cluster(
        dashboard_url=f"http://{context.dashboard_url}" if context.dashboard_url else None,
        is_ours=is_ours,
        nodes=len(alive()),
        cpus=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        session_folder=context.address_info["session_dir"],
    )


@contextmanager
def _joined(address: str) -> Iterator[Any]:
    try:
        context = ray.init(address=address, **_QUIET)
        if own := _own_address():
            ray.shutdown()
            context = ray.init(address=address, _node_ip_address=own, **_QUIET)
    except Exception as error:  # whatever Ray raises: OSError, its own errors, plain Exception
        raise ConfigError(f"address is {address}; {_why_not_joined(str(error))}") from error
    yield context


def _own_address() -> str | None:
    """The address of this host's node, where Ray took another node for it; else None.

    Ray looks for nodes among the processes that it sees, the head first, and so takes that of another host or container
    where their processes are seen too. Answers to its address would never come back.
    """
    nodes = alive()
    if any(node.id == here() and is_here(f"{node.address}:0") for node in nodes):
        return None
    return next((node.address for node in nodes if is_here(f"{node.address}:0")), None)


@contextmanager
def _started(benchmark: Benchmark) -> Iterator[Any]:
    """A Ray of our own; its processes and files end with the block, or with us."""
    cpus, rays = max(os.cpu_count() or 1, benchmark.most_workers + 2), ray_folder()
    sessions = f"{escape(rays)}/session_*_{os.getpid()}"  # Ray says its name only when it has started
    with sweeping_processes(_SESSION, new_files=sessions) as remove:
        try:
            with _surroundings_of_its_own(remove):
                context = ray.init(
                    address="local", num_cpus=cpus, include_dashboard=True, dashboard_host="127.0.0.1",
                    _temp_dir=rays, **_QUIET,
                )  # fmt: skip
        except Exception as error:  # whatever Ray raises: OSError, its own errors, plain Exception
            raise ConfigError(_why_not_started(error)) from error
        yield context


@contextmanager
def _surroundings_of_its_own(remove: Callable[[str], None]) -> Iterator[None]:
    """An empty folder, where the processes that start within the block run and keep their temporary files.

    Ray's dashboard leaves folders behind in TMPDIR, and takes a user's ray.py or json.py for Python's.
    """
    before, folder = os.environ.get("TMPDIR"), new_folder("raybench-ray-", remove)
    os.environ["TMPDIR"] = str(folder)
    try:
        with chdir(folder):
            yield
    finally:
        del os.environ["TMPDIR"]
        os.environ.update({} if before is None else {"TMPDIR": before})


def _why_not_joined(said: str) -> str:
    """Why Ray could not be joined, in place of what it said in many lines."""
    versions = _VERSIONS.findall(said) if "ersion mismatch" in said else []
    if len(versions) == 2:
        (theirs, their_python), (ours, our_python) = versions
        return (
            f"that cluster has Ray {theirs} on Python {their_python}, this host Ray {ours} on Python {our_python}: "
            f"run with the cluster's versions, or submit the run as a job (ray job submit)"
        )
    return f"Ray did not answer ({_in_a_line(said)}): {RAY_REMEDY}"


def _why_not_started(error: Exception) -> str:
    said = _in_a_line(str(error)) or type(error).__name__
    return f"Ray does not start on this host ({said}): free memory and processes, or name a cluster with --address"


def _in_a_line(said: str) -> str:
    return " ".join(said.split())[:_LONGEST_SAID]


def _check_hosts(benchmark: Benchmark) -> None:
    """Shared memory is of one host: workers must not land on others."""
    elsewhere = {node.host for node in alive()} - {socket.gethostname()}
    shared = next((load.shared_memory for load in benchmark.loads if load.shared_memory != "none"), None)
    if elsewhere and shared:
        raise ConfigError(
            f"shared-memory is {shared}; the Ray cluster has nodes on other hosts ({', '.join(sorted(elsewhere))}), "
            f"whose workers cannot reach this host's memory: leave out --shared-memory or --address"
        )
