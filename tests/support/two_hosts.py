"""Two hosts on one machine: network namespaces with addresses and names of their own, and a link between them."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from real_parts import BIN, eventually

_UP_S, _GONE_S = 90, 20
_numbers = count()


@dataclass(frozen=True)
class Host:
    """A namespace, which has the name of its end of the link."""

    name: str
    address: str

    @property
    def words(self) -> list[str]:
        """What runs the command that follows on it."""
        named = 'hostname "$0" && exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", named, self.name]

    @property
    def pids(self) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]

    @property
    def sent_bytes(self) -> int:
        """What has left by its end of the link so far."""
        shown = _ip("-netns", self.name, "-statistics", "link", "show", self.name)
        return int(re.findall(r"TX:.*\n\s*(\d+)", shown)[0])

    def plug(self, how: str) -> None:
        """The link `up` or `down`."""
        _ip("-netns", self.name, "link", "set", self.name, how)

    def kill(self) -> None:
        """Everything that runs on it, at once, as when the power fails."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def linked() -> Iterator[tuple[Host, Host]]:
    """Two hosts until the block ends, however it does, with all that runs on them.

    The test is skipped where namespaces cannot be made. Their names are of this process: test runs do not meet.
    """
    if not shutil.which("ip"):
        pytest.skip("two hosts cannot be made here: there is no `ip` (make network)")
    name = f"rb{os.getpid() % 10**6}-{next(_numbers)}"
    hosts = [Host(f"{name}{side}", f"10.77.0.{n}") for n, side in ((1, "head"), (2, "far"))]
    with ExitStack() as stack:
        for host in hosts:
            made = subprocess.run(["ip", "netns", "add", host.name], capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"two hosts cannot be made here: {made.stderr.strip()}")
            stack.callback(_remove, host)
        head, far = hosts
        _ip("-netns", head.name, "link", "add", head.name, "type", "veth", "peer", far.name, "netns", far.name)
        for host in hosts:
            _ip("-netns", host.name, "address", "add", f"{host.address}/24", "dev", host.name)
            _ip("-netns", host.name, "link", "set", "lo", "up")
            host.plug("up")
        yield head, far


def _remove(host: Host) -> None:
    """A namespace and what runs in it; its end of the link goes with it."""
    deadline = time.monotonic() + _GONE_S
    while host.pids and time.monotonic() < deadline:
        host.kill()
        time.sleep(0.1)
    _ip("netns", "delete", host.name)


@contextmanager
def ray_on(host: Host, *words: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """`ray start` with these words on a host; at the end of the block nothing is left there."""
    command = [*host.words, str(BIN / "ray"), "start", "--block", f"--node-ip-address={host.address}", *words]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--disable-usage-stats"], stdout=output, stderr=output, env=environment)
    try:
        is_up = eventually(lambda: process.poll() is not None or "--block" in log.read_text(errors="replace"), _UP_S)
        if not is_up or process.poll() is not None:
            raise RuntimeError(f"Ray did not start on {host.name}: {log.read_text(errors='replace')}")
        yield
    finally:
        host.kill()
        process.wait(timeout=_GONE_S)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout
