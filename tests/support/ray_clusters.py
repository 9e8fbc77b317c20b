"""Ray clusters that others started, for the tests: a head, and nodes that join it, all on this machine."""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from real_parts import BIN

from raybench.servers.server_process import free_ports

_START_S = 90
_ADDRESS, _STARTED = re.compile(r"--address='([^']+)'"), re.compile(r"(Ray runtime started\.)")


def shell(home: Path) -> dict[str, str]:
    """The environment of a user whose Ray asks for a token, and who has it."""
    return {
        **os.environ,
        "HOME": str(home),
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 64,
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_worker_niceness": "0",
    }


@contextmanager
def head(
    home: Path, *flags: str, python: Path = BIN / "python", settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[dict[str, str]]:
    """The environment of a shell from which a new cluster is reached; `python` is its interpreter."""
    environment, log = {**shell(home), **settings}, home / "ray.log"
    with _started(["--head", "--port=0", *flags], log, environment, python, _ADDRESS) as address:
        yield {**environment, "RAY_ADDRESS": address, "COLUMNS": "1000"}  # sentences are looked for in one line


@contextmanager
def joined(environment: dict[str, str], name: str, *flags: str) -> Iterator[None]:
    """One node more, until the block ends."""
    log = Path(environment["HOME"]) / f"{name}.log"
    with _started([f"--address={environment['RAY_ADDRESS']}", *flags], log, environment, BIN / "python", _STARTED):
        yield


@contextmanager
def _started(
    flags: list[str], log: Path, environment: dict[str, str], python: Path, said: re.Pattern[str]
) -> Iterator[str]:
    """`ray start`, until the block ends; what it said that it has started with.

    Its agent, which starts jobs, has a port of its own: the usual one may be another Ray's on this machine.
    """
    (port,) = free_ports(1)
    usual = ["--block", "--disable-usage-stats", f"--dashboard-agent-listen-port={port}"]
    command = [python, "-m", "ray.scripts.scripts", "start", *usual, *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield _awaited(process, log, said)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _awaited(process: "subprocess.Popen[bytes]", log: Path, said: re.Pattern[str]) -> str:
    deadline = time.monotonic() + _START_S
    while not (found := said.search(log.read_text(errors="replace"))):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Ray did not start: {log.read_text(errors='replace')}")
        time.sleep(0.2)
    return found[1]
