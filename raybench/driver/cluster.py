"""Ray: join the cluster that is named, or start one on this machine; stopped on the way out where it is ours."""

import logging
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # workers use the prepared environment as it is
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# At Ray's own 15 workers wait for the server whenever cores are scarce.
os.environ.setdefault("RAY_worker_niceness", "0")

# At Ray's own 10 s a short trial is over before a dashboard shows it.
os.environ.setdefault("RAY_metrics_report_interval_ms", "1000")

import ray

from raybench.config import Benchmark, ConfigError
from raybench.driver.node_versions import check_raybench
from raybench.driver.placement import Say, await_cpus
from raybench.driver.ray_nodes import alive, here
from raybench.processes import sweeping_processes

RAY_REMEDY = "name what `ray start` printed, or none for a Ray of our own"
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")  # of ray._private.utils.check_version_info
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
    """The Ray cluster of others that the user names; None is one of our own."""
    return benchmark.address or os.environ.get("RAY_ADDRESS") or None


@contextmanager
def connected(benchmark: Benchmark, say: Say) -> Iterator[Cluster]:
    """Connect to `--address` or RAY_ADDRESS, else start Ray here with CPUs for every worker, which ends with us.

    Raises ConfigError where a cluster that others started does not answer, is not fit to run raybench, or has too few
    CPUs for the workers after `--wait-for-workers`.
    """
    address = address_of(benchmark)
    with nullcontext() if address else sweeping_processes(_SESSION), _initialized(address, benchmark, say) as cluster:
        yield cluster


@contextmanager
def _initialized(address: str | None, benchmark: Benchmark, say: Say) -> Iterator[Cluster]:
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            context = ray.init(address=address, **common)
        else:
            cpus = max(os.cpu_count() or 1, benchmark.most_workers + 2)
            context = ray.init(
                address="local", num_cpus=cpus, include_dashboard=True, dashboard_host="127.0.0.1", **common
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"address is {address}; {_why_not_joined(str(error))}") from error
    signal.signal(signal.SIGTERM, on_term)  # Ray puts its own in place, which drops what was measured
    try:
        _check_hosts(benchmark)
        if address:
            check_raybench([node for node in alive() if node.cpus or node.id == here()])
            await_cpus(benchmark.most_workers, benchmark.wait_for_workers, say)
        resources = ray.cluster_resources()
        cluster = Cluster(
            dashboard_url=f"http://{context.dashboard_url}" if context.dashboard_url else None,
            is_ours=not address,
            nodes=len(alive()),
            cpus=int(resources.get("CPU", 0)),
            gpus=int(resources.get("GPU", 0)),
            session_folder=context.address_info["session_dir"],
        )
        yield cluster
    finally:
        ray.shutdown()


def _why_not_joined(said: str) -> str:
    """Why Ray could not be joined, in place of what it said in many lines."""
    versions = _VERSIONS.findall(said) if "ersion mismatch" in said else []
    if len(versions) == 2:
        (theirs, their_python), (ours, our_python) = versions
        return (
            f"that cluster has Ray {theirs} on Python {their_python}, and here is Ray {ours} on Python {our_python}: "
            f"run with the cluster's versions, or submit the run as a job (ray job submit)"
        )
    return f"Ray did not answer ({' '.join(said.split())[:300]}): {RAY_REMEDY}"


def _check_hosts(benchmark: Benchmark) -> None:
    """Shared memory is of one host: workers must not land on others."""
    elsewhere = {node.host for node in alive()} - {socket.gethostname()}
    if elsewhere and any(load.shared_memory == "system" for load in benchmark.loads):
        raise ConfigError(
            f"shared-memory is system; the Ray cluster has nodes on other hosts ({', '.join(sorted(elsewhere))}), "
            f"whose workers cannot reach this host's memory: leave it out, or --address"
        )
