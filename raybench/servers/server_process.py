"""A server as a child process: started under a supervisor, its output kept, stopped with a deadline."""

import glob
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from raybench.config import ConfigError
from raybench.processes import process_tree, stop_supervised, supervised

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")
_TAIL_LINES = 12
# TensorFlow's last words before it ends a process, as it writes them now and as older ones did.
_ABORTED = re.compile(r"^(?:F\d{4} |[-\d]+ [\d:.]+: F )[^\]\n]*\] (.+)$", re.MULTILINE)
_LAST_PORT = 65535
_IDLE_CPU_S = 0.3  # a Triton that waits for nothing used 0.1 s in 20 s; one that loads a model, some seconds
_POLL_S = 0.01  # a cold start is measured to within some of them
_KNOCK_S = 1.0
_LOOK_S = 1.0  # a look at the CPU time of a process tree goes through every process of the host


class ServerError(Exception):
    """A server that is not available, or failed: one sentence, with its last lines if it left any."""


class ServerUnavailable(ServerError):
    """A server that is not available on this machine: one sentence with the remedies."""


class TransientStartError(ServerError):
    """A start that failed by chance: another may succeed."""


class ServerProcess:
    """A running command, in a folder of its own that holds its log.

    `reason` matches the part of its log that says why it failed; `sweep` is what it may leave behind.
    """

    def __init__(
        self, command: list[str], *, env: dict[str, str], folder: Path, reason: re.Pattern[str], sweep: str
    ) -> None:
        log = folder / "server.log"
        self._log, self._reason = log, reason
        with log.open("wb") as output:
            self._spawned_s = time.monotonic()
            self._child = subprocess.Popen(
                supervised(command, sweep=(sweep,), sweep_if_alone=(_pattern(folder),)),
                env=env,
                cwd=folder,  # what lies in the user's is no part of a server: Triton's Python would import it
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for raybench, which then stops its servers in order
            )

    @property
    def pid(self) -> int | None:
        """The command itself, not its supervisor; None when it has ended."""
        children = process_tree(self._child.pid)[1:2]
        return children[0].pid if children else None

    def processes(self) -> dict[int, str]:
        """Pid and name of the command and what it started, without the supervisor and the dead."""
        found = {}
        for process in process_tree(self._child.pid)[1:]:
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = process.name()
        return found

    def cpu_s(self) -> float:
        """CPU time of the command and what it started, as far as that still runs."""
        total_s = 0.0
        for process in process_tree(self._child.pid)[1:]:
            with suppress(psutil.NoSuchProcess):
                total_s += sum(process.cpu_times()[:2])
        return total_s

    def age_s(self) -> float:
        """How long ago it was spawned."""
        return time.monotonic() - self._spawned_s

    @property
    def exit_code(self) -> int | None:
        return self._child.poll()

    def tail(self) -> str:
        """Why it failed, where it said so, and its last lines."""
        said = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        reasons = dict.fromkeys([*(" ".join(match) for match in self._reason.findall(said)), *_ABORTED.findall(said)])
        return "\n".join([*reasons, "it said last:", *said.splitlines()[-_TAIL_LINES:]])

    def begin_stop(self) -> None:
        """SIGTERM, without waiting: several servers then end side by side, each in a second or two."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def stop(self, timeout_s: float) -> None:
        """SIGTERM, then SIGKILL for what is left of its process tree after `timeout_s`."""
        stop_supervised(self._child, timeout_s)


def _pattern(folder: Path) -> str:
    """Matches a folder, which may have any letter in its name; patterns are handed on with a colon between them."""
    return glob.escape(str(folder)).replace(os.pathsep, "?")


def check_bind(address: str) -> None:
    """Raise ConfigError where no server on this machine could listen at an address."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(where)
    except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"server-bind is {address}; this machine cannot listen there ({why}): name an address of this machine"
        ) from error


def require_free(bind: str, port: int) -> None:
    """Raise ConfigError where a port (0: any) is taken: another program's server would answer there."""
    family, kind, _, _, where = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise ConfigError(
                f"port is {port}; {endpoint(bind, port)} is not free ({error.strerror}); name another"
            ) from error


def port_beside(bind: str, port: int, otherwise: int) -> int:
    """The port after the one that a user named, where a run by --url looks for metrics; another if it is taken."""
    if port == _LAST_PORT:
        return otherwise
    try:
        require_free(bind, port + 1)
    except ConfigError:
        return otherwise
    return port + 1


def endpoint(bind: str, port: int) -> str:
    """HOST:PORT by which this machine reaches a server that listens on `bind`; IPv6 in brackets (RFC 3986, 3.2.2)."""
    host = dict(zip(EVERYWHERE, ("127.0.0.1", "::1"), strict=True)).get(bind, bind)
    return f"{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def listens(url: str) -> bool:
    """Whether something accepts connections at HOST:PORT.

    A gRPC channel that was refused waits up to a second before it tries again, and would find a server ready that much
    later: knock first.
    """
    host, _, port = url.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except OSError:
        return False
    return True


def wait_until(
    is_ready: Callable[[], bool], process: ServerProcess, *, what: str, timeout_s: float, stall_s: float | None = None
) -> None:
    """Poll `is_ready()` until it is true.

    Raises ServerError when the process ends first or the time is up, and TransientStartError when it has used hardly
    any CPU for `stall_s`.
    """
    deadline = time.monotonic() + timeout_s
    activity = _Activity(process)
    while not is_ready():
        if process.exit_code is not None:
            raise ServerError(
                f"{what} stopped with exit code {process.exit_code} before it was ready: {process.tail()}"
            )
        if time.monotonic() > deadline:
            raise ServerError(f"{what} was not ready after {timeout_s:.0f} s: {process.tail()}")
        if stall_s and activity.idle_s() > stall_s:
            raise TransientStartError(f"{what} did nothing for {stall_s:.0f} s and is not ready: {process.tail()}")
        time.sleep(_POLL_S)


class _Activity:
    """When a process tree last used CPU."""

    def __init__(self, process: ServerProcess) -> None:
        self._process, self._cpu_s = process, 0.0
        self._active_s = self._looked_s = time.monotonic()

    def idle_s(self) -> float:
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s, cpu_s = now_s, self._process.cpu_s()
            if abs(cpu_s - self._cpu_s) > _IDLE_CPU_S:  # less where a process has ended
                self._active_s, self._cpu_s = now_s, cpu_s
        return now_s - self._active_s
