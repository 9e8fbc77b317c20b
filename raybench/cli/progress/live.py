"""RunObserver of a run: a live view on a terminal, plain lines elsewhere, or nothing."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from raybench.cli.progress.trial_progress import Course, Tally
from raybench.config.plan import Trial
from raybench.driver.run_observer import RunObserver
from raybench.telemetry.periodic import periodic

_PLAIN_EVERY_S = 10.0
_REFRESHES_PER_S = 2.0  # each is drawn by the process that gathers: more would cost and show no more
_BAR_WIDTH = 40
_SILENT_S = 3.0
_MEASURED = ("ok", "degraded", "unstable")
_DASH = "–"


class _Watched(RunObserver):
    """What plain lines and the live view both tell."""

    def __init__(self, console: Console) -> None:
        self._console, self._stack = console, ExitStack()
        self._began_s = self._step_s = time.monotonic()
        self._what = "starting"
        self._course = Course((), self._began_s)
        self._trial: Trial | None = None
        self._tally: Tally | None = None

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def say(self, line: str) -> None:
        self._console.print(escape(line), highlight=False, soft_wrap=True)

    def step(self, what: str) -> None:
        if self._tally:  # what a trial does once its last reply is in
            self._tally.end()
        self._what, self._step_s = what, time.monotonic()

    def begin(self, trials: Sequence[Trial]) -> None:
        self._course = Course(trials, time.monotonic())

    def start(self, trial: Trial) -> None:
        self._course.start()
        of = f"/{self._course.trials}" if self._course.trials else ""
        name = f"{trial.cell.label} {trial.cell.model} {trial.cell.load.name}, round {trial.round}"
        self.step(f"trial {self._course.number}{of}: {name}")
        self._trial, self._tally = trial, Tally(trial.cell.load)

    def advance(self, chunk: pa.Table, server_mib: float | None) -> None:
        if self._tally:
            self._tally.add(chunk, server_mib, time.monotonic())

    def end(self, record: dict[str, Any]) -> None:
        now_s, tally = time.monotonic(), self._tally
        if tally:
            tally.end()
        if self._trial:
            self._course.end(self._trial, is_measured=record["status"] in _MEASURED, now_s=now_s)
        facts = f"; {', '.join(_facts(tally, now_s))}" if tally and tally.done else ""
        self._trial = self._tally = None
        self._what, self._step_s = "ending what the trial needed", now_s
        self._ended(f"{record['id']}: {record['status']}{facts}")

    def _ended(self, line: str) -> None:
        self.say(line)

    def _run_times(self, tally: Tally | None, now_s: float) -> str:
        left_s = self._course.left_s(tally.left_s(now_s) if tally else None, now_s)
        return f"run {_times(now_s - self._began_s, left_s)}"


class PlainProgress(_Watched):
    """A line per step, and one every ten seconds."""

    def __init__(self, console: Console, every_s: float = _PLAIN_EVERY_S) -> None:
        super().__init__(console)
        self._every_s = every_s

    def __enter__(self) -> "RunObserver":
        self._stack.enter_context(periodic(self._every_s, self._tell))
        return self

    def step(self, what: str) -> None:
        super().step(what)
        self._stamped(what)

    def _tell(self) -> None:
        now_s, tally = time.monotonic(), self._tally
        if tally and tally.done:
            times = f"trial {_times(tally.elapsed_s(now_s), tally.left_s(now_s))}, {self._run_times(tally, now_s)}"
            self._stamped(f"  {', '.join((_count(tally), *_facts(tally, now_s)))}; {times}")
        else:
            self._stamped(f"  still {self._what}, for {_clock(now_s - self._step_s)}")

    def _ended(self, line: str) -> None:
        self._stamped(f"  {line}")

    def _stamped(self, line: str) -> None:
        self.say(f"[{time.monotonic() - self._began_s:6.1f} s] {line}")


class LiveProgress(_Watched):
    """Three lines that are drawn anew twice a second; a trial that has ended leaves one above them."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._spinner = Spinner("dots")

    def __enter__(self) -> "RunObserver":
        view = Live(
            console=self._console, get_renderable=self._view, refresh_per_second=_REFRESHES_PER_S, transient=True
        )
        self._stack.enter_context(view)
        return self

    def _view(self) -> RenderableType:
        now_s, tally = time.monotonic(), self._tally
        head = Table.grid(padding=(0, 1))
        what = f"{self._what}, {_clock(now_s - self._step_s)}  ({self._run_times(tally, now_s)})"
        head.add_row(self._spinner, _line(what))
        if tally is None:
            return head
        if not tally.done:
            return Group(head, _line("  warming up"))
        bar = Table.grid(padding=(0, 1))
        width = min(_BAR_WIDTH, self._console.width // 3)
        times = f"{_count(tally)}  trial {_times(tally.elapsed_s(now_s), tally.left_s(now_s))}"
        bar.add_row(" ", ProgressBar(total=1.0, completed=tally.share(now_s), width=width), _line(times))
        facts = _line(f"  {'  '.join(_facts(tally, now_s))}")
        facts.highlight_regex(r"\b[1-9]\d* failed|no reply for.*?s\b", "bold red")
        return Group(head, bar, facts)


def progress(kind: str, console: Console) -> RunObserver:
    """The progress of `--ui`: live falls back to plain lines where there is no terminal."""
    if kind == "none":
        return RunObserver()
    return LiveProgress(console) if kind == "live" and console.is_terminal else PlainProgress(console)


def _facts(tally: Tally, now_s: float) -> tuple[str, ...]:
    """Rate, latency so far, errors and memory; a dash is not known, or not yet supported by the sample."""
    offered = f" of {tally.load.offered_rps:g}" if tally.load.offered_rps else ""
    latency = tuple(f"{name} {_number(tally.histogram.percentile_ms(name))} ms" for name in ("p50", "p99"))
    silent_s = tally.silent_s(now_s)
    return (
        f"{_number(tally.achieved_rps(now_s))}{offered} requests/s",
        f"{_number(tally.images_per_s(now_s))} images/s",
        *latency,
        f"{tally.failed} failed",
        f"server {_DASH if tally.server_mib is None else f'{tally.server_mib:.0f}'} MiB",
        *([f"no reply for {silent_s:.0f} s"] if silent_s > _SILENT_S else []),
    )


def _count(tally: Tally) -> str:
    of = f"/{tally.load.request_count}" if tally.load.request_count else ""
    return f"{tally.done}{of} requests"


def _times(elapsed_s: float, left_s: float | None) -> str:
    return _clock(elapsed_s) + ("" if left_s is None else f", about {_clock(left_s)} left")


def _clock(seconds: float) -> str:
    """Such as 0:07, 12:30 or 1:02:03."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _line(text: str) -> Text:
    """Cut at the terminal's edge: the view keeps its height."""
    return Text(text, no_wrap=True, overflow="ellipsis")
