"""Processes that raybench starts end with it, however it ends: commands under a supervisor, Ray with a sweeper.

The supervisor is a program of its own between raybench and the command: Popen's preexec_fn would run Python in a forked
copy of a process full of gRPC's and Ray's threads. It adopts the orphans of a server that was killed (Triton's stubs),
ends them, and removes shared memory. The parent-death signal is bound to the *thread* that started it: start from the
main one. Where the supervisor itself is killed, as Ray does it to the children of an actor that it ends, its fallback
reaper does that: a process that is not a descendant of raybench.

The process sweeper is for processes that a library starts: Ray's agents outlive a killed driver by a minute, and the
helpers of its dashboard even a clean exit. It finds them by the log files they hold open, because they change their
names.

This file is both a module and the program that the two run, so it imports nothing of raybench, and psutil late.
"""

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from glob import escape, glob
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_ORPHANS_S = 3.0  # from SIGTERM to SIGKILL,
_SWEPT_S = 1.0  # and for what a library has tried to end already, such as helpers of a Ray that is gone
_LOOK_S = 0.05
_ALONE_S = 5
_SWEEPER = "--sweep-processes"
_SWEEPER_S = 30.0
_SUPERVISOR_S = 10.0
_KILLED_S = 5.0


def supervised(command: list[str], *, sweep: tuple[str, ...] = (), sweep_if_alone: tuple[str, ...] = ()) -> list[str]:
    """The command line that runs `command` under a supervisor, as a child of this process.

    Afterwards files that match the patterns in `sweep` are removed, and `sweep_if_alone` too where this process has
    died. Start it in a session of its own where all this must happen even if the supervisor is killed.
    """
    settings = [str(os.getpid()), os.pathsep.join(sweep), os.pathsep.join(sweep_if_alone)]
    return [sys.executable, "-I", __file__, *settings, *command]


def stop_supervised(supervisor: "subprocess.Popen[bytes] | subprocess.Popen[str]", timeout_s: float) -> None:
    """SIGTERM to a supervised command, then SIGKILL for what is left of its process tree after `timeout_s`.

    The supervisor, which cleans up after the others, is the last to end.
    """
    import psutil

    tree = process_tree(supervisor.pid)[1:]
    if supervisor.poll() is None:
        supervisor.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=timeout_s)
    for process in alive:
        process.kill()
    try:
        supervisor.wait(timeout=_SUPERVISOR_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait(timeout=_KILLED_S)


@contextmanager
def sweeping_processes(open_files: str, *, new_files: str = "") -> Iterator[Callable[[str], None]]:
    """End every process that holds a file open whose path matches, soon after the block, or this process, has ended.

    Then every file and folder that matches `new_files` and did not exist before the block is removed. An empty pattern
    matches none. The value takes the path of a file or folder to remove as well.
    """
    command = [sys.executable, "-I", __file__, _SWEEPER, str(os.getpid()), open_files, new_files]
    sweeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert sweeper.stdin
    assert sweeper.stdout

    def remove(path: str) -> None:
        os.write(sweeper.stdin.fileno(), os.fsencode(path) + b"\0")  # type: ignore[union-attr]

    try:
        sweeper.stdout.read(1)  # from here on it waits for SIGTERM
        yield remove
    finally:
        sweeper.stdin.close()
        sweeper.terminate()
        sweeper.wait(timeout=_SWEEPER_S)


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder that goes with the block, or soon after this process has ended, however it does."""
    with sweeping_processes("") as remove:
        yield new_folder(prefix, remove, parent)


def new_folder(prefix: str, remove: Callable[[str], None], parent: Path | None = None) -> Path:
    """Make a temporary folder; `remove` hands it to a sweeper first, since we may be killed at any moment."""
    folder = Path(parent or tempfile.gettempdir(), f"{prefix}{secrets.token_hex(6)}").absolute()
    remove(str(folder))
    folder.mkdir(mode=0o700)
    return folder


def end_with(parent: int) -> None:
    """Have this process killed when its parent, whose pid is given, ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of what our children leave behind, to see it and end it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_descendants(patience_s: float, others: Collection["psutil.Process"] = ()) -> None:
    """Wait for all that descends from us to end by itself, and end the rest, but not `others` nor what they started.

    A shell may have given us children before we began: the `tee` of `raybench run 2> >(tee log)` waits for our own end.
    """
    import psutil

    def ours() -> list[psutil.Process]:
        spared = {each for other in others for each in process_tree(other.pid)}
        return [each for each in _living(process_tree(os.getpid())[1:]) if each not in spared]

    until_s = time.monotonic() + patience_s
    while (there := ours()) and time.monotonic() < until_s:
        psutil.wait_procs(there, timeout=0.2)
    _end(there)


def process_tree(pid: int) -> list["psutil.Process"]:
    """A process and its descendants, itself first; empty where it has ended."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _living(processes: list["psutil.Process"]) -> list["psutil.Process"]:
    """Without those that have ended, and whose parent has not asked."""
    import psutil

    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _run_sweeper(parent: int, open_files: str, new_files: str) -> int:
    existed = set(glob(new_files))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.write(sys.stdout.fileno(), b".")
    if os.getppid() == parent:
        signal.sigwait({signal.SIGTERM})
    import psutil

    if open_files:
        there = [each for each in psutil.process_iter() if each.pid != parent and _holds_open(each, open_files)]
        _end(there, _SWEPT_S)
    to_remove = {os.fsdecode(path) for path in sys.stdin.buffer.read().split(b"\0") if path}  # all that the parent sent
    for path in to_remove | (set(glob(new_files)) - existed):
        _remove(escape(path))
    return 0


def _holds_open(process: "psutil.Process", pattern: str) -> bool:
    import psutil

    try:
        return any(fnmatch(file.path, pattern) for file in process.open_files())
    except psutil.Error:  # another user's, or gone
        return False


def _run_supervisor(parent: int, sweep: str, sweep_if_alone: str, command: list[str]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until the command has started
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        _clean_up([], sweep, sweep_if_alone)
        return 1
    reaper = _start_fallback_reaper(parent, sweep, sweep_if_alone) if os.getsid(0) == os.getpid() else None
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # not before: it would adopt its fallback reaper
    child = _start_command(command, parent)
    code = child.wait()
    _clean_up(process_tree(os.getpid())[1:], sweep, sweep_if_alone if os.getppid() != parent else "")
    if reaper is not None:
        os.write(reaper, b".")
    return code if code >= 0 else 128 - code


def _start_command(command: list[str], parent: int) -> "subprocess.Popen[bytes]":
    """Start the command: SIGTERM, which is blocked, ends it from then on, followed by SIGKILL where the parent, which
    would send that, is gone."""

    def prepare() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def end(*_: object) -> None:
        child.terminate()
        if os.getppid() != parent:
            signal.alarm(_ALONE_S)

    child = subprocess.Popen(command, preexec_fn=prepare)  # there are no threads in here
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, lambda *_: child.kill())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops us in order
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return child


def _start_fallback_reaper(parent: int, sweep: str, sweep_if_alone: str) -> int:
    """Start a process that cleans up what is left of our session where we end before we have written to its pipe.

    Returns the pipe's end to write to.
    """
    session = os.getpid()
    to_read, to_write = os.pipe()  # neither passes to the command: our death alone closes the end to write to
    if child := os.fork():
        os.waitpid(child, 0)
        os.close(to_read)
        return to_write
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(to_write)
    for stream in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    if not os.read(to_read, 1):
        _clean_up(_session_members(session), sweep, sweep_if_alone if not _exists(parent) else "")
    os._exit(0)


def _clean_up(processes: list["psutil.Process"], *patterns: str) -> None:
    _end(processes)
    for each in (pattern for several in patterns for pattern in several.split(os.pathsep) if pattern):
        _remove(each)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _session_members(session: int) -> list["psutil.Process"]:
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getsid(process.pid) == session:
                found.append(process)
    return found


def _exists(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid)


def _end(processes: list["psutil.Process"], patience_s: float = _ORPHANS_S) -> None:
    """SIGTERM, then SIGKILL for those that have not ended by then."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    until_s, alive = time.monotonic() + patience_s, processes
    while alive and time.monotonic() < until_s:
        alive = _living(psutil.wait_procs(alive, timeout=_LOOK_S)[1])
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _remove(pattern: str) -> None:
    for path in map(Path, glob(pattern)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    if sys.argv[1] == _SWEEPER:
        sys.exit(_run_sweeper(int(sys.argv[2]), *sys.argv[3:]))
    sys.exit(_run_supervisor(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
