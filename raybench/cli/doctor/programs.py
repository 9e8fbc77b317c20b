"""Programs that are run for what they print: all at once, each with a deadline, and none left behind."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

from raybench.processes import stop_supervised, supervised

_GRACE_S = 3.0


@dataclass(frozen=True)
class Program:
    """A command to run, and how long it may take; without `environment` it gets ours."""

    command: tuple[str, ...]
    deadline_s: float
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class ProgramOutput:
    """What a program printed, and the exit code with which it ended; None where it had not by its deadline."""

    exit_code: int | None
    stdout: str = ""
    stderr: str = ""

    @property
    def last_words(self) -> str:
        """Its last line; where it printed none, how it ended."""
        lines = [line.strip() for line in (*self.stdout.splitlines(), *self.stderr.splitlines()) if line.strip()]
        if self.exit_code and self.exit_code - 128 in set(signal.Signals):
            return f"it was ended by {signal.Signals(self.exit_code - 128).name}"
        return lines[-1] if lines else f"it stopped with exit code {self.exit_code}"


def run_all(programs: Mapping[str, Program]) -> dict[str, ProgramOutput | None]:
    """The output of each program; None for one that is not installed.

    Call it from the main thread: the programs end with the thread that started them.
    """
    with ExitStack() as running:
        waiting = {
            name: running.enter_context(_running(program)) if shutil.which(program.command[0]) else None
            for name, program in programs.items()
        }
        return {name: await_output() if await_output else None for name, await_output in waiting.items()}


@contextmanager
def _running(program: Program) -> Iterator[Callable[[], ProgramOutput]]:
    """A program that runs within the block; the value waits for its output."""
    with TemporaryFile() as stdout, TemporaryFile() as stderr:  # a full pipe that nobody reads would block the program
        child = subprocess.Popen(
            supervised(list(program.command)),
            env=program.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        deadline = time.monotonic() + program.deadline_s
        try:
            yield lambda: _output(child, program, deadline, stdout, stderr)
        finally:
            if child.poll() is None:
                stop_supervised(child, _GRACE_S)


def _output(
    child: "subprocess.Popen[bytes]", program: Program, deadline: float, stdout: IO[bytes], stderr: IO[bytes]
) -> ProgramOutput:
    try:
        exit_code = child.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return ProgramOutput(None, stderr=f"it hangs: no answer in {program.deadline_s:g} s")
    return ProgramOutput(exit_code, _text(stdout), _text(stderr))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
