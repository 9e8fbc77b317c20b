"""One process at a time measures into a results folder; any number may read it meanwhile."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from raybench.config import ConfigError

_LOCK = "running.lock"
_PATIENCE_S, _POLL_S = 1.0, 0.1  # for a process that is just ending


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder until the block ends, or this process does, however it ends.

    Raises ConfigError with the pid and the host of the process that holds it. Where a file system knows no locks, or
    the folder cannot be written, the folder is not held: who writes into it says what is wrong.
    """
    path = folder / _LOCK
    try:
        held = _acquired(path)
    except BlockingIOError as error:
        raise ConfigError(f"{folder} is being measured by {_holder(path)}: wait until it ends, or stop it") from error
    except OSError:
        yield
        return
    with held:
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


def _acquired(path: Path) -> IO[str]:
    """The lock file, locked; raises BlockingIOError where another process holds it, and goes on doing so."""
    end_s = time.monotonic() + _PATIENCE_S
    while True:
        held = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(held.fileno()), path.stat()):  # not removed meanwhile
                held.truncate(0)
                held.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
                held.flush()
                return held
            held.close()
        except OSError as error:
            held.close()
            if not isinstance(error, BlockingIOError) or time.monotonic() > end_s:
                raise
        time.sleep(_POLL_S)


def _holder(path: Path) -> str:
    """As its lock file says."""
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, ValueError):
        return "another process"
