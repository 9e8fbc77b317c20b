"""Two hosts on one machine: network namespaces with addresses of their own and a link between them, a Ray on both."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from real_parts import BIN

_UP_S = 90


@dataclass(frozen=True)
class Host:
    """A namespace; `link` is its end of the cable."""

    name: str
    address: str
    link: str

    def command(self, *words: object) -> list[str]:
        """What runs a command on it, under its host name."""
        named = 'hostname "$0" && exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", named, self.name, *map(str, words)]

    @property
    def pids(self) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]

    @property
    def sent_bytes(self) -> int:
        """What its end of the link has sent so far."""
        shown = _ip("-netns", self.name, "-statistics", "link", "show", self.link)
        return int(re.findall(r"TX:.*\n\s*(\d+)", shown)[0])

    def unplug(self) -> None:
        _ip("-netns", self.name, "link", "set", self.link, "down")

    def kill(self) -> None:
        """Everything that runs on it, at once, as when power fails."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class TwoHosts:
    """A head and another node of one Ray cluster; `environment` is that of a shell on either."""

    head: Host
    far: Host
    environment: dict[str, str]
    log: Path

    def join(self, stack: ExitStack, cpus: int, environment: dict[str, str] | None = None) -> None:
        """Start the far node of the cluster, in a namespace that is empty."""
        words = ("start", f"--address={self.head.address}:6379", f"--num-cpus={cpus}", "--block")
        _started(stack, self.far, words, {**self.environment, **(environment or {})}, self.log.with_name("far.log"))

    @property
    def address(self) -> str:
        return f"{self.head.address}:6379"


@contextmanager
def two_hosts(folder: Path, *, cpus: tuple[int, int], far_environment: dict[str, str] | None = None) -> Iterator[Any]:
    """A Ray cluster over two hosts, removed with all its processes however the block ends.

    The test is skipped where namespaces cannot be made.
    """
    with ExitStack() as stack:
        head, far = _linked(stack)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "HOME": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0" * 64,
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "RAY_worker_niceness": "0",
        }
        hosts = TwoHosts(head, far, environment, folder / "head.log")
        words = ("start", "--head", "--port=6379", f"--num-cpus={cpus[0]}", "--include-dashboard=false", "--block")
        _started(stack, head, words, environment, hosts.log)
        hosts.join(stack, cpus[1], far_environment)
        yield hosts


def _linked(stack: ExitStack) -> tuple[Host, Host]:
    """Two namespaces with a link between them, named after this process so that two test runs do not meet."""
    if not shutil.which("ip"):
        pytest.skip("two hosts cannot be made here: there is no ip (make network)")
    number = os.getpid() % 2**14
    subnet = f"10.77.{number % 256}"
    hosts = [Host(f"rb{number}{side}", f"{subnet}.{n}", f"rb{number}{side}") for n, side in ((1, "head"), (2, "far"))]
    for host in hosts:
        made = subprocess.run(["ip", "netns", "add", host.name], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"two hosts cannot be made here: {made.stderr.strip()}")
        stack.callback(_removed, host)
    one, other = hosts
    _ip("-netns", one.name, "link", "add", one.link, "type", "veth", "peer", other.link, "netns", other.name)
    for host in hosts:
        _ip("-netns", host.name, "address", "add", f"{host.address}/24", "dev", host.link)
        for link in ("lo", host.link):
            _ip("-netns", host.name, "link", "set", link, "up")
    return one, other


def _removed(host: Host) -> None:
    """A namespace and what runs in it; its link goes with it."""
    deadline = time.monotonic() + 20
    while host.pids and time.monotonic() < deadline:
        host.kill()
        time.sleep(0.1)
    _ip("netns", "delete", host.name)


def _started(stack: ExitStack, host: Host, words: Sequence[str], environment: dict[str, str], log: Path) -> None:
    command = host.command(BIN / "ray", *words, f"--node-ip-address={host.address}", "--disable-usage-stats")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    stack.callback(process.wait, timeout=30)
    stack.callback(host.kill)
    deadline = time.monotonic() + _UP_S
    while "--block" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Ray did not start on {host.name}: {log.read_text(errors='replace')}")
        time.sleep(0.2)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout
