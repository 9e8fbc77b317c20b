"""A results folder as loaded -> everything that is derived from it; pure."""

from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from raybench.analysis.cells import CellSummary, summarize_cells
from raybench.analysis.comparisons import Comparison, compare
from raybench.analysis.doubts import with_doubts
from raybench.analysis.search import evaluation
from raybench.analysis.search.strategy import SearchPoint, SearchResult, search_result
from raybench.analysis.threshold_outcomes import ThresholdOutcome, evaluate_thresholds
from raybench.analysis.trial_summary import TrialSummary, summarize_trial
from raybench.analysis.tuning.halving import configurations
from raybench.analysis.tuning.measurements import SeenTrial, measurements_of
from raybench.analysis.tuning.result import TuningResult, tuning_result
from raybench.config.search_goal import Goal
from raybench.results import ResultsError
from raybench.results.damage import DamagedFile
from raybench.results.results_folder import SCHEMA_VERSION, ObservedTrial, Results, StoredTrial
from raybench.results.run_info import Environment, RunInfo
from raybench.results.trial_files import without_numbers

# A search has no --rounds, it measures again what decides; and its points are as long as its percentile needs.
_NOT_OF_A_SEARCH = frozenset({"one_round", "few_samples", "steadiness_unknown"})


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Whether every server that was compared agrees with TensorFlow, and the ids of the trials that do not."""

    agrees: bool
    compared: int
    differ: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything derived from a results folder; what its `damaged` files held is in none of it."""

    schema_version: int
    run: RunInfo
    environment: Environment | None
    trials: tuple[TrialSummary, ...]
    cells: tuple[CellSummary, ...]
    comparisons: tuple[Comparison, ...]
    thresholds: tuple[ThresholdOutcome, ...]
    verification: Agreement | None
    search: tuple[SearchResult, ...] | None
    tuning: TuningResult | None
    damaged: tuple[DamagedFile, ...]


def summarize(results: Results) -> Summary:
    """Derive every number and doubt from what was observed."""
    derived = tuple(map(_derived, results.trials))
    damaged = (*results.damaged, *(each.damage for each in derived if each.damage))
    trials = with_doubts(
        tuple(each.summary for each in derived),
        baseline=results.run.baseline,
        leave_out=_NOT_OF_A_SEARCH if results.goal or results.tuning else frozenset(),
        is_own_ray=results.environment is not None and results.environment.ray_cluster.is_ours,
        damaged=damaged,
        unsealed=frozenset(t.record.id for t in results.trials if isinstance(t, StoredTrial) and not t.is_sealed),
    )
    rows = summarize_cells(trials)
    return Summary(
        schema_version=SCHEMA_VERSION,
        run=results.run,
        environment=results.environment,
        trials=trials,
        cells=rows,
        comparisons=() if results.tuning else compare(trials, results.run.baseline),
        thresholds=evaluate_thresholds(results.run.threshold, rows, trials),
        verification=_agreement(trials),
        search=_search(results.goal, trials, derived),
        tuning=_tuning(results, trials, derived),
        damaged=damaged,
    )


class _Derived(NamedTuple):
    """A trial as it was observed, its numbers, and why there are none where its files do not make sense."""

    observed: ObservedTrial | StoredTrial
    summary: TrialSummary
    damage: DamagedFile | None = None


def _derived(seen: ObservedTrial | StoredTrial) -> _Derived:
    """A trial whose files make no sense is a failed trial, and leaves the others untouched."""
    try:
        return _Derived(seen, summarize_trial(seen.record, seen.samples, seen.telemetry))
    except (ArithmeticError, LookupError, TypeError, ValueError, ResultsError, pa.ArrowException) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        damage = DamagedFile(path=f"trials/{seen.record.id}.json", reason=f"its numbers cannot be computed: {said}")
        failed = without_numbers(seen.record, str(damage))
        return _Derived(failed, summarize_trial(failed.record, failed.samples, failed.telemetry), damage)


def seen_trials(results: Results) -> list[SeenTrial]:
    """The trials of a folder with their numbers."""
    return [SeenTrial(each.summary, each.observed) for each in map(_derived, results.trials)]


def _search(
    goal: Goal | None, trials: tuple[TrialSummary, ...], derived: tuple[_Derived, ...]
) -> tuple[SearchResult, ...] | None:
    """What each server and model was found to hold, from the trials alone; None where nothing was searched for."""
    if goal is None:
        return None
    points: dict[tuple[str, str, str], list[SearchPoint]] = {}
    for trial, each in zip(trials, derived, strict=True):
        series = points.setdefault((trial.label, trial.model.name, trial.unit), [])
        series.append(evaluation.point(goal, trial, each.observed.record, each.observed.samples))
    return tuple(
        search_result(goal, server, model, tried, unit=unit) for (server, model, unit), tried in points.items()
    )


def _tuning(results: Results, trials: tuple[TrialSummary, ...], derived: tuple[_Derived, ...]) -> TuningResult | None:
    """What the configurations came to; None where nothing was tuned."""
    if results.tuning is None:
        return None
    goal, space = results.tuning.goal, configurations(results.tuning.benchmark)
    seen = [SeenTrial(trial, each.observed) for trial, each in zip(trials, derived, strict=True)]
    return tuning_result(space, measurements_of(space, goal, seen), goal)


def _agreement(trials: tuple[TrialSummary, ...]) -> Agreement | None:
    """None where no answers were compared."""
    seen = [(trial.id, trial.verification.agrees) for trial in trials if trial.verification]
    compared = [(name, agrees) for name, agrees in seen if agrees is not None]
    if not compared:
        return None
    differ = tuple(name for name, agrees in compared if not agrees)
    return Agreement(agrees=not differ, compared=len(compared), differ=differ)
