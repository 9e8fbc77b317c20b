"""Progress of a run: live bars on a terminal, plain lines elsewhere, or nothing."""

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from raybench.plan import Trial

_PLAIN_EVERY_S = 10.0


class Progress:
    """What a run says about itself; this one says nothing."""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, line: str) -> None:
        """Something to keep."""

    def step(self, what: str) -> None:
        """A step that takes a while begins."""

    def begin(self, trials: int) -> None:
        """So many trials follow; a search does not know how many."""

    def start(self, trial: Trial) -> None:
        """A trial begins."""

    def advance(self, requests: int, failed: int) -> None:
        """So many requests more are done, of which so many failed."""

    def end(self, record: dict[str, Any]) -> None:
        """A trial is on disk."""


class PlainProgress(Progress):
    """A line per step, and one each ten seconds of a trial."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._numbers = (0, 0)

    def say(self, line: str) -> None:
        self._console.print(escape(line), highlight=False, soft_wrap=True)

    def step(self, what: str) -> None:
        self.say(f"[{time.monotonic() - self._started:6.1f} s] {what}")

    def begin(self, trials: int) -> None:
        self._numbers = (0, trials)

    def start(self, trial: Trial) -> None:
        self._numbers = (self._numbers[0] + 1, self._numbers[1])
        self._trial, self._done, self._failed, self._said = trial, 0, 0, time.monotonic()
        of = f"/{self._numbers[1]}" if self._numbers[1] else ""
        self.step(f"trial {self._numbers[0]}{of}: {_name(trial)}")

    def advance(self, requests: int, failed: int) -> None:
        self._done, self._failed = self._done + requests, self._failed + failed
        if time.monotonic() - self._said >= _PLAIN_EVERY_S:
            self._said = time.monotonic()
            self.step(f"  {self._done} of {_total(self._trial) or '?'} requests, {self._failed} failed")

    def end(self, record: dict[str, Any]) -> None:
        self.step(f"  {record['id']}: {record['status']}")


class LiveProgress(Progress):
    """One bar per trial, a spinner for everything else."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._step = self._bars.add_task("", total=None, note="")
        self._numbers = (0, 0)

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.remove_task(self._step)
        self._bars.stop()

    def say(self, line: str) -> None:
        self._bars.console.print(escape(line), highlight=False, soft_wrap=True)

    def step(self, what: str) -> None:
        self._bars.reset(self._step, description=escape(what), total=None, note="")

    def begin(self, trials: int) -> None:
        self._numbers = (0, trials)

    def start(self, trial: Trial) -> None:
        self._numbers = (self._numbers[0] + 1, self._numbers[1])
        self.step(f"trial {self._numbers[0]}" + (f" of {self._numbers[1]}" if self._numbers[1] else ""))
        self._bar = self._bars.add_task(escape(_name(trial)), total=_total(trial), note="warming up")
        self._total, self._done, self._failed = _total(trial), 0, 0
        self._first = 0.0

    def advance(self, requests: int, failed: int) -> None:
        self._done, self._failed = self._done + requests, self._failed + failed
        self._first = self._first or time.monotonic()
        elapsed = time.monotonic() - self._first
        parts = [f"{self._done}/{self._total or '?'} requests"]
        parts += [f"{self._done / elapsed:.1f}/s"] if elapsed > 1 else []
        parts += [f"{self._failed} failed"] if self._failed else []
        self._bars.update(self._bar, advance=requests, note=", ".join(parts))

    def end(self, record: dict[str, Any]) -> None:
        self._bars.update(self._bar, note=f"{self._done}/{self._total or '?'} requests, {record['status']}")
        self._bars.stop_task(self._bar)


def progress(kind: str, console: Console) -> Progress:
    """The progress of `--ui`: live falls back to plain lines where there is no terminal."""
    if kind == "none":
        return Progress()
    return LiveProgress(console) if kind == "live" and console.is_terminal else PlainProgress(console)


def _name(trial: Trial) -> str:
    return f"{trial.cell.label} {trial.cell.model} {trial.cell.load.name}, round {trial.round}"


def _total(trial: Trial) -> int | None:
    return trial.cell.load.request_count
