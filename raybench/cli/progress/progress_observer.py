"""What both kinds of progress keep of a run: its step, its trials, and the trial that goes on."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

import pyarrow as pa
from rich.console import Console

from raybench.analysis.trial_summary import summarize_trial
from raybench.cli.progress.progress_text import planned, summary_facts, times
from raybench.cli.progress.quiet import QuietProgress
from raybench.cli.progress.run_progress import RunProgress
from raybench.cli.progress.trial_progress import TrialProgress
from raybench.config.plan import Trial
from raybench.report.text import print_wrapped
from raybench.results.results_folder import ObservedTrial

_MEASURED = ("ok", "degraded", "unstable")


class ProgressObserver(QuietProgress):
    """The state that plain lines and the live view share; each prints a line for a trial that has ended."""

    def __init__(self, console: Console) -> None:
        self._console, self._stack = console, ExitStack()
        self._started_s = self._step_started_s = time.monotonic()
        self._step = "starting"
        self._run = RunProgress((), self._started_s)
        self._trial: Trial | None = None
        self._progress: TrialProgress | None = None

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def note(self, line: str) -> None:
        print_wrapped(self._console, line)

    def step(self, what: str) -> None:
        if self._progress:  # what a trial does once its last reply is in
            self._progress.end()
        super().step(what)
        self._step, self._step_started_s = what, time.monotonic()

    def plan(self, trials: Sequence[Trial]) -> None:
        self._run = RunProgress(trials, time.monotonic())
        if trials:
            self.note(planned(trials))

    def start(self, trial: Trial, unit: str) -> None:
        self._run.start()
        of = f"/{self._run.trials}" if self._run.trials else ""
        name = f"{trial.cell.label} {trial.cell.model} {trial.cell.load.name}, round {trial.round}"
        self.step(f"trial {self._run.number}{of}: {name}")
        self._trial, self._progress = trial, TrialProgress(trial.cell.load, unit)

    def advance(self, chunk: pa.Table, server_mib: float | None) -> None:
        if self._progress:
            self._progress.add(chunk, server_mib, time.monotonic())

    def end(self, trial: ObservedTrial) -> None:
        """The line that stays has the numbers of the table: its window and its peak, and not what was seen so far."""
        now_s, ended = time.monotonic(), summarize_trial(trial.record, trial.samples, trial.telemetry)
        if self._progress:
            self._progress.end()
        if self._trial:
            self._run.end(self._trial, is_measured=trial.record.status in _MEASURED, now_s=now_s)
        facts = f"; {', '.join(summary_facts(ended))}" if ended.requests.attempted else ""
        self._trial = self._progress = None
        super().end(trial)
        self._step, self._step_started_s = self._reached.step, now_s
        self._print_ended(ended.id, f"{ended.status}{facts}")

    def _print_ended(self, trial_id: str, line: str) -> None:
        """Nothing else that stays on a terminal names the trial."""
        self.note(f"{trial_id}: {line}")

    def _run_left_s(self, now_s: float) -> float | None:
        return self._run.left_s(self._progress.left_s(now_s) if self._progress else None, now_s)

    def _run_times(self, now_s: float) -> str:
        return f"run {times(now_s - self._started_s, self._run_left_s(now_s))}"
