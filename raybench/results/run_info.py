"""What is known of a run besides its trials: its command, and the machine, packages and cluster that it ran on."""

import os
import platform
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = ("raybench", "ray", "tensorflow", "keras", "tritonclient", "nvidia-pytriton", "grpcio", "numpy", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """A run; stamps are ISO 8601 in UTC, and `ended` is None while it runs. `resumed` are the commands that went on
    with it; `baseline`, `threshold`, `max_error_rate` and `strict` are as the user gave them."""

    name: str
    started: str
    ended: str | None
    command: tuple[str, ...]
    resumed: tuple[tuple[str, ...], ...] = ()
    baseline: str | None = None
    threshold: tuple[str, ...] = ()
    max_error_rate: float = 0.0
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class RayClusterInfo:
    """The Ray cluster of the workers; `is_ours` says whether the run started it."""

    dashboard_url: str | None
    is_ours: bool
    nodes: int
    cpus: int
    gpus: int


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The host that ran the command, the cluster, the image files that do not decode, and a sentence for each file
    of inputs with rows that do not fit.

    `packages` are versions by name, None where one is not installed.
    """

    host: str
    os: str
    python: str
    cpu: str | None
    cores: int
    memory_mib: int
    packages: Mapping[str, str | None]
    ray_cluster: RayClusterInfo
    unreadable_images: tuple[str, ...] = ()


def environment_here(ray_cluster: RayClusterInfo, unreadable_images: tuple[str, ...] = ()) -> Environment:
    """The environment of this process."""
    return Environment(
        host=socket.gethostname(),
        os=platform.platform(),
        python=python_version(),
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory_mib=round(psutil.virtual_memory().total / 2**20),
        packages=package_versions(),
        ray_cluster=ray_cluster,
        unreadable_images=unreadable_images,
    )


def python_version() -> str:
    return sys.version.split()[0]


def package_versions() -> dict[str, str | None]:
    """The versions of the packages that numbers hang on."""
    return {name: version_of(name) for name in _PACKAGES}


def version_of(package: str) -> str | None:
    """A package's version here; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
