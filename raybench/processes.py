"""What we start ends when we do, however we end: commands under a guardian, and Ray under a watcher.

The guardian is a program of its own between us and the command: Popen's preexec_fn would run Python in a forked copy of
a process full of gRPC's and Ray's threads. It adopts the orphans of a server that was killed (Triton's stubs), ends
them, and sweeps up shared memory. The parent-death signal is bound to the *thread* that started us: start from the
main one. Where the guardian itself is killed, as Ray does it to the children of an actor that it ends, its heir does
that: a process that is below none of ours.

The watcher is for processes that a library starts for us: Ray's agents outlive a killed driver by a minute, and its
dashboard's helpers an orderly end. It finds them by the log files that they hold open, for they rename themselves.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from glob import glob
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_ORPHANS_S = 3.0
_ALONE_S = 5


def guarded(command: list[str], *, sweep: tuple[str, ...] = (), sweep_if_alone: tuple[str, ...] = ()) -> list[str]:
    """The command line that runs `command` under a guardian, as a child of this process.

    Afterwards what matches the patterns in `sweep` is removed, and `sweep_if_alone` too where this process has died.
    Start it in a session of its own where all this must happen even if the guardian is killed.
    """
    settings = [str(os.getpid()), os.pathsep.join(sweep), os.pathsep.join(sweep_if_alone)]
    return [sys.executable, "-I", __file__, *settings, *command]


@contextmanager
def watched(open_files: str) -> Iterator[None]:
    """Every process that holds a file open whose path matches has ended soon after the block, or this process, has."""
    command = [sys.executable, "-I", __file__, "--watch", str(os.getpid()), open_files]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        watcher.stdout.read(1)  # type: ignore[union-attr]  # it heeds SIGTERM from here on
        yield
    finally:
        watcher.terminate()
        watcher.wait(timeout=10 * _ORPHANS_S)


def _watch(parent: int, open_files: str) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.write(sys.stdout.fileno(), b".")
    if os.getppid() == parent:
        signal.sigwait({signal.SIGTERM})
    import psutil

    _end([each for each in psutil.process_iter() if each.pid != parent and _holds_open(each, open_files)])
    return 0


def _holds_open(process: Any, pattern: str) -> bool:
    import psutil

    try:
        return any(fnmatch(file.path, pattern) for file in process.open_files())
    except psutil.Error:  # of another user, or gone
        return False


def _main(parent: int, sweep: str, sweep_if_alone: str, command: list[str]) -> int:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        return 1
    heir = _leave_heir(parent, sweep, sweep_if_alone) if os.getsid(0) == os.getpid() else None
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # not before: it would adopt its heir
    child = subprocess.Popen(command, preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM))  # no threads here

    def end(*_: object) -> None:
        child.terminate()
        if os.getppid() != parent:  # nobody else is left to make it
            signal.alarm(_ALONE_S)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, lambda *_: child.kill())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops us in order
    code = child.wait()
    _clear(_orphans(), sweep, sweep_if_alone if os.getppid() != parent else "")
    if heir is not None:
        os.write(heir, b".")
    return code if code >= 0 else 128 - code


def _leave_heir(parent: int, sweep: str, sweep_if_alone: str) -> int:
    """A process that clears what is left of this one's session where it ends with nothing written to what returns."""
    session = os.getpid()
    will, held = os.pipe()  # neither passes to the command: the end of the file is ours
    if child := os.fork():
        os.waitpid(child, 0)
        os.close(will)
        return held
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(held)
    for stream in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    if not os.read(will, 1):
        _clear(_members(session), sweep, sweep_if_alone if not _exists(parent) else "")
    os._exit(0)


def _clear(processes: list[Any], *patterns: str) -> None:
    _end(processes)
    for each in patterns:
        _remove(each)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _orphans() -> list[Any]:
    import psutil

    return psutil.Process().children(recursive=True)


def _members(session: int) -> list[Any]:
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


def _end(processes: list[Any]) -> None:
    """First asked, then made to."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_ORPHANS_S)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _remove(patterns: str) -> None:
    for path in (Path(found) for pattern in patterns.split(os.pathsep) if pattern for found in glob(pattern)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    if sys.argv[1] == "--watch":
        sys.exit(_watch(int(sys.argv[2]), sys.argv[3]))
    sys.exit(_main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
