"""A search, point by point: each is an ordinary trial, measured, written, judged, and the next one follows from it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from raybench.analysis.search.evaluation import is_hopeless, point
from raybench.analysis.search.strategy import BROKE, Point, at, next_value
from raybench.analysis.trial_summary import summarize_trial
from raybench.config import Benchmark, plan
from raybench.config.plan import Trial
from raybench.config.search_goal import OOM, Goal
from raybench.driver.run_observer import RunObserver
from raybench.driver.server_host import serving
from raybench.driver.session import Stage, keep, staged
from raybench.driver.trial import Run, measure, not_measured
from raybench.results import results_folder
from raybench.results.results_folder import Observed
from raybench.servers import Running, ServerError, ServerUnavailable


def search(
    benchmark: Benchmark, goal: Goal, progress: RunObserver, command: list[str], on_folder: Callable[[Path], object]
) -> None:
    """Search for each server and model in turn; every trial is on disk before the next begins.

    `benchmark.loads` are the steps of the goal. Raises what `run` does.
    """

    def open_folder(facts: dict[str, Any]) -> Path:
        folder = results_folder.create(benchmark, command, facts=facts, search=goal)
        on_folder(folder)
        return folder

    with staged(benchmark, progress, open_folder) as stage:
        for first in plan.series(benchmark):
            keep(_Climb(first, goal, stage).trials(), stage)


class _Climb:
    """The search of one server and model; `first` is a trial of them."""

    def __init__(self, first: Trial, goal: Goal, stage: Stage) -> None:
        self._first, self._goal, self._stage = first, goal, stage
        self._points: tuple[Point, ...] = ()

    def trials(self) -> Iterator[Observed]:
        """Measured as the points before them have it; the server is started anew after memory ran out, or it ended."""
        while (trial := self._next()) is not None:
            server_spec, shared = trial.cell.server, self._stage.shared
            shared.progress.step(f"starting {server_spec.label}")
            shared.recorders.before(server_spec)
            try:
                with serving(server_spec, self._started_for(), shared.credentials, shared.placement) as server:
                    yield from self._on_one_server(server)
            except ServerError as error:
                status = "skipped" if isinstance(error, ServerUnavailable) else "failed"
                yield self._kept(not_measured(trial, shared.benchmark, status=status, reason=str(error)))

    def _on_one_server(self, server: Running) -> Iterator[Observed]:
        while server.failure() is None and (trial := self._next()) is not None:
            self._stage.shared.progress.start(trial)
            shards = self._stage.pictures.dealt(trial.cell.load.workers)
            yield self._kept(measure(trial, self._shared(trial), server, shards))
            if self._goal.kind == OOM and self._points[-1].verdict == BROKE:
                return

    def _shared(self, trial: Trial) -> Run:
        """A point ends as soon as it is hopeless; one that is repeated, because it decides, is measured whole."""
        shared = self._stage.shared
        return replace(shared, is_enough=partial(is_hopeless, self._goal)) if trial.round == 1 else shared

    def _next(self) -> Trial | None:
        """The trial of the next value, in a round for each time that the value was measured."""
        value = next_value(self._goal, self._points)
        if value is None:
            return None
        round_number = 1 + sum(each.value == value for each in self._points)
        planned = plan.trials(at(self._stage.shared.benchmark, self._goal.variable, value))
        mine = (trial for trial in planned if plan.is_of_series(trial, self._first))
        return replace(next(mine), round=round_number)

    def _started_for(self) -> Benchmark:
        """This model alone, and the first step: a server that starts for one value starts for every value."""
        first_step = at(self._stage.shared.benchmark, self._goal.variable, self._goal.steps[0])
        return replace(first_step, model=self._first.cell.models)

    def _kept(self, observed: Observed) -> Observed:
        trial = summarize_trial(observed.record, observed.samples, observed.telemetry)
        self._points += (point(self._goal, trial, observed.record, observed.samples),)
        return observed
