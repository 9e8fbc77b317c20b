"""Programs asked what they are: all at once, each with a deadline, and none left behind."""

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
class Question:
    """A command to run, and how long it may take; without `environment` it gets ours."""

    command: tuple[str, ...]
    deadline_s: float
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Answer:
    """What a program printed, and the exit code with which it ended; None where it had not by its deadline."""

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def last_words(self) -> str:
        """Its last line; where it printed none, how it ended."""
        lines = [line.strip() for line in (*self.out.splitlines(), *self.err.splitlines()) if line.strip()]
        if self.code and self.code - 128 in set(signal.Signals):
            return f"it was ended by {signal.Signals(self.code - 128).name}"
        return lines[-1] if lines else f"it ended with exit code {self.code}"


def answers(questions: Mapping[str, Question]) -> dict[str, Answer | None]:
    """What each program answers; None for one that is not there.

    Call it from the main thread: the programs end with the thread that started them.
    """
    with ExitStack() as asked:
        waiting = {
            name: asked.enter_context(_asked(question)) if shutil.which(question.command[0]) else None
            for name, question in questions.items()
        }
        return {name: heard() if heard else None for name, heard in waiting.items()}


@contextmanager
def _asked(question: Question) -> Iterator[Callable[[], Answer]]:
    """A program that runs within the block; the value waits for its answer."""
    with TemporaryFile() as out, TemporaryFile() as err:  # a pipe that nobody reads yet would hold the program up
        child = subprocess.Popen(
            supervised(list(question.command)),
            env=question.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        deadline = time.monotonic() + question.deadline_s
        try:
            yield lambda: _answer(child, question, deadline, out, err)
        finally:
            if child.poll() is None:
                stop_supervised(child, _GRACE_S)


def _answer(
    child: "subprocess.Popen[bytes]", question: Question, deadline: float, out: IO[bytes], err: IO[bytes]
) -> Answer:
    try:
        code = child.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return Answer(None, err=f"it hangs: no answer in {question.deadline_s:g} s")
    return Answer(code, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
