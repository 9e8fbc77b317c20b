"""A tuning, round by round: each measurement is ordinary trials, saved before the next, and decides what follows."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

from raybench.analysis.plain_numbers import duration
from raybench.analysis.search.evaluation import is_decided, point
from raybench.analysis.search.strategy import SearchPoint, next_value, trial_at
from raybench.analysis.trial_summary import TrialSummary, summarize_trial
from raybench.analysis.tuning.deployed_run import deployed_run
from raybench.analysis.tuning.halving import Configuration, Round, configurations, next_round
from raybench.analysis.tuning.measurements import (
    KnownRates,
    SeenTrial,
    known_rates,
    requests_per_s,
    search_goal,
)
from raybench.analysis.tuning.result import Measurement, rate_measurement, throughput_measurement, to_deploy, values
from raybench.config import Benchmark
from raybench.config.plan import Trial
from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal
from raybench.driver.run_context import RunContext
from raybench.driver.run_observer import RunObserver
from raybench.driver.server_host import serve_options, start_server
from raybench.driver.session import open_folder, open_session, save
from raybench.driver.trial import measure, not_measured
from raybench.results import results_folder
from raybench.results.results_folder import ObservedTrial
from raybench.results.run_files import DEPLOY
from raybench.results.run_lock import locked
from raybench.servers import RunningServer, ServerError
from raybench.servers.deployment import write_deployment

_Measurements = dict[str, dict[int, Measurement]]


@dataclass(frozen=True)
class TuneResume:
    """The folder of a tuning that was cut off, what it measured so far, and which trials are measured again."""

    folder: Path
    measurements: Mapping[str, Mapping[int, Measurement]]
    unfinished: tuple[str, ...] = ()


def tune(
    benchmark: Benchmark, goal: TuningGoal, observer: RunObserver, command: list[str], resume: TuneResume | None = None
) -> None:
    """Measure configurations until the best is known and confirmed, or the time is up. Raises what `run` does."""
    folder = resume.folder if resume else None
    until_s = time.monotonic() + goal.budget_s
    with (
        locked(folder) if folder else nullcontext(),
        open_session(benchmark, observer) as session,
        open_folder(session, command, resume=folder, goal=goal) as context,
    ):
        if resume:
            results_folder.discard(resume.folder, resume.unfinished)
        space = configurations(session.benchmark)
        found: _Measurements = {name: dict(rounds) for name, rounds in (resume.measurements if resume else {}).items()}
        pace = _Pace(until_s, sum(map(len, found.values())))
        while following := next_round(space, values(found), goal, pace.most_trials()):
            observer.note(_announced(following, space, pace))
            for each in _shuffled(following, space, session.benchmark.seed):
                rates = known_rates(space, found, each.name, following.number)
                one = _measured(each, following.number, goal.latency, rates, context)
                found.setdefault(each.name, {})[following.number] = one
                pace.count()
        if best := to_deploy(space, values(found)):
            _write_files(next(each for each in space if each.name == best), goal.latency, found[best], context)


class _Pace:
    """How many measurements fit into the time that is left, at the pace of those before."""

    def __init__(self, until_s: float, before: int) -> None:
        self._until_s, self._before, self._done, self._began_s = until_s, before, 0, time.monotonic()

    def count(self) -> None:
        self._done += 1

    @property
    def each_s(self) -> float | None:
        """The mean time of a measurement; None before the first."""
        return (time.monotonic() - self._began_s) / self._done if self._done else None

    def most_trials(self) -> int | None:
        """All measurements that there may be, with those that are there; None before the pace is known."""
        if self.each_s is None:
            return None
        left = int(max(0.0, self._until_s - time.monotonic()) / self.each_s)
        return self._before + self._done + left


def _write_files(
    best: Configuration, latency: Goal | None, measured: Mapping[int, Measurement], context: RunContext
) -> None:
    """The files that deploy the best configuration, and a run.yaml that measures it alone as the tuning did."""
    folder, cell = context.folder / DEPLOY, best.first.cell
    write_deployment(cell.server, serve_options(cell.server, [cell], context), folder)
    results_folder.write_benchmark(folder / "run.yaml", deployed_run(context.benchmark, best, latency, measured))


def _shuffled(following: Round, space: Sequence[Configuration], seed: int) -> list[Configuration]:
    """The configurations of a round in an order of its own, but the default first in round 1: others build on it."""
    there = [each for each in space if each.name in following.names]
    ordered = Random(f"{seed} {following.number}").sample(there, len(there))
    return sorted(ordered, key=lambda each: following.number == 1 and each.name != space[0].name)


def _announced(following: Round, space: Sequence[Configuration], pace: _Pace) -> str:
    length = f", about {duration(len(following.names) * pace.each_s)}" if pace.each_s else ""
    return f"{following.stage}: {len(following.names)} of {len(space)} configurations, round {following.number}{length}"


def _measured(
    each: Configuration, number: int, latency: Goal | None, rates: KnownRates, context: RunContext
) -> Measurement:
    """A configuration, measured once: its throughput, or the highest rate within the latency."""
    trial = replace(each.first, round=number)
    try:
        with start_server(trial.cell.server, [trial.cell], context) as server:
            if latency is None:
                return throughput_measurement(
                    _saved(measure(trial, context, server, is_servers_last=True), context).summary
                )
            goal = search_goal(latency, rates, number)
            if not goal.steps:
                closed = throughput_measurement(_saved(measure(trial, context, server), context).summary)
                if closed.value is None:
                    return closed
                goal = search_goal(latency, KnownRates(throughput_rps=requests_per_s(closed.trials[0])), number)
            return _searched(each.first, number, goal, context, server)
    except ServerError as error:
        observed = not_measured(trial, context, error)
        save(observed, context)
        return Measurement(None, (_summary(observed),), str(error))


def _searched(first: Trial, number: int, goal: Goal, context: RunContext, server: RunningServer) -> Measurement:
    points, trials = list[SearchPoint](), list[TrialSummary]()
    while (value := next_value(goal, points)) is not None:
        trial = replace(trial_at(context.benchmark, goal, first, value), round=number)
        seen = _saved(measure(trial, context, server, is_enough=partial(is_decided, goal)), context)
        trials.append(seen.summary)
        points.append(point(goal, seen.summary, seen.observed.record, seen.observed.samples))
        if ended := seen.observed.record.server_ended:
            return Measurement(None, (seen.summary,), ended)
    return rate_measurement(goal, points, trials)


def _saved(observed: ObservedTrial, context: RunContext) -> SeenTrial:
    save(observed, context)
    return SeenTrial(_summary(observed), observed)


def _summary(observed: ObservedTrial) -> TrialSummary:
    return summarize_trial(observed.record, observed.samples, observed.telemetry)
