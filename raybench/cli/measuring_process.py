"""A process of its own that measures, and the one that watches it: whatever becomes of a run, one is left to say so.

Ray ends its driver from C++ where the cluster is lost, and a kernel without memory kills. The measuring process has a
session of its own: what is sent to a terminal or to a process group reaches the watching process alone, and neither Ray
nor a server. It is forked before Ray, or anything else that has threads, is imported.
"""

import atexit
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NoReturn

from raybench.cli.exit_codes import FAILED, INTERRUPTED
from raybench.cli.signals import (
    SIGNALS,
    at_the_first,
    interrupt_in_a_fork,
    raise_at_the_first,
    say_at_the_second,
    show_cursor,
)
from raybench.processes import adopt_orphans, end_descendants, end_with, process_tree

_LOOK_S = 1.0
_ORDERLY_END_S = 90.0  # after an interrupt, beyond the requests in flight: a server and Ray take a minute at most
_EXIT_S = 30.0  # after the last word
_LEFT_S = 20.0  # for supervisors and sweepers to end what they watch, on a busy host too


@dataclass(frozen=True)
class Reached:
    """How far the measuring process is: its step, the results folder, and by pid what it cannot go on without."""

    step: str = "starting"
    folder: Path | None = None
    relies_on: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a measurement ended: an exit code and, unless that is 0, a sentence; `is_lost` where its process was lost."""

    code: int = 0
    sentence: str | None = None
    is_lost: bool = False


Tell = Callable[[Reached], None]


def measure_watched(
    work: Callable[[Tell], Outcome], in_flight_s: float, prepare: Callable[[], None] = lambda: None
) -> tuple[Outcome, Reached]:
    """Call `work` in a process of its own: how it ended, and how far it came; nothing that it started is left.

    The first interrupt is passed on. Requests in flight may then take `in_flight_s`, and the end of the rest some more.
    `prepare` is called when the run needs its Ray no longer, which then ends: imports for what follows fit in there.
    """
    from_child, to_parent = Pipe(duplex=False)
    parent, watch = os.getpid(), _Watch(from_child, _ORDERLY_END_S + in_flight_s, prepare)
    others = process_tree(parent)[1:]
    adopt_orphans()
    at_the_first(watch.pass_on_interrupt)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the fork has handlers of its own
    if (child := os.fork()) == 0:
        from_child.close()
        _measure(work, to_parent, parent)
    watch.begin(child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    to_parent.close()
    try:
        outcome = watch.outcome()
        if outcome.is_lost:
            show_cursor()
        return outcome, watch.reached
    finally:
        end_descendants(_LEFT_S, others)
        if not watch.is_interrupted:
            raise_at_the_first()


def _measure(work: Callable[[Tell], Outcome], to_parent: Connection, parent: int) -> NoReturn:
    """The life of the measuring process."""
    end_with(parent)
    os.setsid()
    atexit._clear()  # what the parent has registered is the parent's to do
    outcome = Outcome(INTERRUPTED)
    interrupt_in_a_fork()
    with suppress(KeyboardInterrupt):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        outcome = _outcome(work, lambda reached: to_parent.send((time.monotonic(), reached)))
    at_the_first(lambda: None)
    to_parent.send(outcome)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(outcome.code)


def _outcome(work: Callable[[Tell], Outcome], tell: Tell) -> Outcome:
    try:
        return work(tell)
    except Exception as error:  # a bug in raybench: who mends it needs the traceback
        traceback.print_exc()
        return Outcome(FAILED, f"raybench itself failed: {type(error).__name__}: {error}")


class _Watch:
    """Waits for the measuring process, and kills it where nothing more is to be expected of it."""

    def __init__(self, messages: Connection, orderly_end_s: float, prepare: Callable[[], None]) -> None:
        self.reached, self.is_interrupted = Reached(), False
        self._messages, self._orderly_end_s, self._prepare = messages, orderly_end_s, prepare
        self._child = 0
        self._until_s = float("inf")
        self._interrupted_s = float("inf")
        self._step = self.reached.step  # the last that began before the interrupt
        self._relied_on: dict[int, str] = {}  # names by pidfd_open(2)

    def begin(self, child: int) -> None:
        self._child = child
        if self.is_interrupted:
            self.pass_on_interrupt()

    def pass_on_interrupt(self) -> None:
        """As SIGINT, for which Ray has no handler of its own."""
        self.is_interrupted = True
        self._interrupted_s = time.monotonic()
        self._until_s = self._interrupted_s + self._orderly_end_s
        self._send(signal.SIGINT)

    def _send(self, number: signal.Signals) -> None:
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, number)

    def outcome(self) -> Outcome:
        """What the measuring process says of its end; where it cannot, what is to be said of it."""
        said, why = self._last_word()
        is_dying = why is None or _is_dead(self._child)
        code = self._exit_code(_EXIT_S if is_dying else 0.0)
        interrupted = f"interrupted during the step “{self._step}”"
        if said:
            return replace(said, sentence=interrupted) if said.code == INTERRUPTED else said
        if self.is_interrupted and why is None and code >= 0:  # Ray may end a process whose interrupt it got
            return Outcome(INTERRUPTED, interrupted, is_lost=True)
        if why is None or (is_dying and code == -signal.SIGKILL):  # Ray's processes die with the one that started them
            why = _how_ended(code)
        return Outcome(
            INTERRUPTED if self.is_interrupted else FAILED, f"{why} during the step “{self.reached.step}”", is_lost=True
        )

    def _last_word(self) -> tuple[Outcome | None, str | None]:
        """The outcome as the measuring process sends it; or why none is to be waited for, where that is known."""
        while True:
            ready = wait([self._messages, *self._relied_on], timeout=_LOOK_S)
            if self._messages in ready:
                try:
                    message = self._messages.recv()
                except (EOFError, OSError):
                    return None, None
                if isinstance(message, Outcome):
                    return message, None
                self._take(*message)
            elif ready:
                return None, f"{self._relied_on[ready[0]]} ended"  # type: ignore[index]
            elif time.monotonic() > self._until_s:
                return None, f"the run had not ended {self._orderly_end_s:.0f} s after the interrupt, and was killed"
            elif self.is_interrupted:  # Python misses a signal until the next, if it came just before a wait began
                self._send(signal.SIGCONT)

    def _take(self, sent_s: float, reached: Reached) -> None:
        if reached.relies_on != self.reached.relies_on:
            for descriptor in self._relied_on:
                os.close(descriptor)
            self._relied_on = {}
            for pid, name in reached.relies_on.items():
                with suppress(OSError):  # a kernel older than 5.3, or a process that has just ended: Ray will notice
                    self._relied_on[os.pidfd_open(pid)] = f"{name} (pid {pid})"
            if not reached.relies_on:
                self._prepare()
        self.reached = reached
        if sent_s < self._interrupted_s:  # it may have waited in the pipe since before
            self._step = reached.step
        what = f"`raybench report {shlex.quote(str(reached.folder))}` has what was measured"
        say_at_the_second(f"Error: ended at once; {what if reached.folder else 'nothing was measured'}")

    def _exit_code(self, patience_s: float) -> int:
        """Of the measuring process, which is killed where it does not exit; that of a signal is negative."""
        until_s = time.monotonic() + patience_s
        while (found := os.waitpid(self._child, os.WNOHANG))[0] == 0 and time.monotonic() < until_s:
            time.sleep(0.02)
        if found[0] == 0:
            os.kill(self._child, signal.SIGKILL)
            found = os.waitpid(self._child, 0)
        return os.waitstatus_to_exitcode(found[1])


def _is_dead(pid: int) -> bool:
    """Whether the main thread of a process has ended; the others may still be on their way out."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in ("Z", "X")


def _how_ended(code: int) -> str:
    if code >= 0:
        return f"the measuring process ended with exit code {code} (Ray does so where a cluster is lost)"
    memory = " (the kernel does so where memory runs out)" if code == -signal.SIGKILL else ""
    return f"the measuring process was ended by {signal.Signals(-code).name}{memory}"
