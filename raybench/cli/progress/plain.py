"""Progress as lines, for a log."""

import time

from rich.console import Console

from raybench.cli.progress.progress_observer import ProgressObserver
from raybench.cli.progress.progress_text import clock, left, request_count, trial_facts, usually
from raybench.driver.run_observer import RunObserver
from raybench.telemetry.periodic import periodic

_INTERVAL_S = 10.0


class PlainProgress(ProgressObserver):
    """A line per step, and one every ten seconds."""

    def __init__(self, console: Console, interval_s: float = _INTERVAL_S) -> None:
        super().__init__(console)
        self._interval_s = interval_s

    def __enter__(self) -> "RunObserver":
        self._stack.enter_context(periodic(self._interval_s, self._report))
        return self

    def step(self, what: str) -> None:
        super().step(what)
        self._print_stamped(f"{what}{usually(what)}")

    def _report(self) -> None:
        """Say how far the trial is, or which step goes on and for how long."""
        now_s, progress = time.monotonic(), self._progress
        if progress and progress.done:
            facts = ", ".join((request_count(progress), *trial_facts(progress, now_s)))
            self._print_stamped(f"  {facts}; {left(progress.left_s(now_s), self._run_left_s(now_s))}")
        else:
            self._print_stamped(f"  still {self._step}, for {clock(now_s - self._step_started_s)}")

    def _print_ended(self, trial_id: str, line: str) -> None:  # noqa: ARG002  the line above names it
        self._print_stamped(f"  {line}")

    def _print_stamped(self, line: str) -> None:
        self.note(f"[{time.monotonic() - self._started_s:6.1f} s] {line}")
