"""A search, point by point: each is an ordinary trial, measured and saved, and the next one follows from it."""

from functools import partial

from raybench.analysis.search.evaluation import is_decided, point
from raybench.analysis.search.strategy import BROKE, SearchPoint, next_value, trial_at
from raybench.analysis.trial_summary import summarize_trial
from raybench.config import Benchmark, plan
from raybench.config.plan import Trial
from raybench.config.search_goal import OOM, Goal
from raybench.driver.run_context import RunContext
from raybench.driver.run_observer import RunObserver
from raybench.driver.sent_load import EarlyStop, never
from raybench.driver.server_host import start_server
from raybench.driver.session import open_folder, open_session, save
from raybench.driver.trial import measure, not_measured
from raybench.results.results_folder import ObservedTrial
from raybench.servers import ServerError


def search(benchmark: Benchmark, goal: Goal, observer: RunObserver, command: list[str]) -> None:
    """Search for each server and model in turn; every trial is on disk before the next begins.

    `benchmark.loads` are the steps of the goal. Raises what `run` does.
    """
    with open_session(benchmark, observer) as session, open_folder(session, command, goal=goal) as context:
        for first in plan.first_trials(session.benchmark):
            search_one_server(first, goal, context)


def search_one_server(first: Trial, goal: Goal, context: RunContext) -> None:
    """The search of one server and model, of which `first` is a trial.

    The server starts for the first step: one that starts for one value starts for every value. It is started again
    after memory ran out, or it ended.
    """
    points: tuple[SearchPoint, ...] = ()
    at_first_step = trial_at(context.benchmark, goal, first, goal.steps[0])
    while (trial := _next_trial(first, goal, points, context)) is not None:
        try:
            with start_server(first.cell.server, [at_first_step.cell], context) as server:
                while trial is not None and server.failure() is None:
                    observed = measure(trial, context, server, is_enough=_early_stop(trial, goal))
                    save(observed, context)
                    points = (*points, _point(goal, observed))
                    if goal.kind == OOM and points[-1].verdict == BROKE:
                        break
                    trial = _next_trial(first, goal, points, context)
        except ServerError as error:
            observed = not_measured(trial or first, context, error)
            save(observed, context)
            points = (*points, _point(goal, observed))


def _next_trial(first: Trial, goal: Goal, points: tuple[SearchPoint, ...], context: RunContext) -> Trial | None:
    """The trial of the next value, in a round for each time that the value was measured; None when it is over."""
    value = next_value(goal, points)
    if value is None:
        return None
    return trial_at(context.benchmark, goal, first, value, round=1 + sum(each.value == value for each in points))


def _early_stop(trial: Trial, goal: Goal) -> EarlyStop:
    """A point ends as soon as it is futile; one that is repeated, because it decides, is measured whole."""
    return partial(is_decided, goal) if trial.round == 1 else never


def _point(goal: Goal, observed: ObservedTrial) -> SearchPoint:
    trial = summarize_trial(observed.record, observed.samples, observed.telemetry)
    return point(goal, trial, observed.record, observed.samples)
