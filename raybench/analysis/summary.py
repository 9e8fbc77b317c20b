"""A results folder as loaded -> everything that is derived from it; pure."""

from dataclasses import dataclass

from raybench.analysis.cells import CellSummary, summarize_cells
from raybench.analysis.comparisons import Comparison, compare
from raybench.analysis.doubts import with_doubts
from raybench.analysis.search import evaluation
from raybench.analysis.search.strategy import SearchPoint, SearchResult, search_result
from raybench.analysis.threshold_outcomes import ThresholdOutcome, evaluate_thresholds
from raybench.analysis.trial_summary import TrialSummary, summarize_trial
from raybench.results.results_folder import SCHEMA_VERSION, Results
from raybench.results.run_info import Environment, RunInfo

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
    """Everything derived from a results folder."""

    schema_version: int
    run: RunInfo
    environment: Environment
    trials: tuple[TrialSummary, ...]
    cells: tuple[CellSummary, ...]
    comparisons: tuple[Comparison, ...]
    thresholds: tuple[ThresholdOutcome, ...]
    verification: Agreement | None
    search: tuple[SearchResult, ...] | None


def summarize(results: Results) -> Summary:
    """Derive every number and doubt from what was observed."""
    plain = tuple(summarize_trial(trial.record, trial.samples, trial.telemetry) for trial in results.trials)
    left_out = _NOT_OF_A_SEARCH if results.goal else frozenset[str]()
    is_own_ray = results.environment.ray_cluster.is_ours
    trials = with_doubts(plain, baseline=results.run.baseline, leave_out=left_out, is_own_ray=is_own_ray)
    rows = summarize_cells(trials)
    return Summary(
        schema_version=SCHEMA_VERSION,
        run=results.run,
        environment=results.environment,
        trials=trials,
        cells=rows,
        comparisons=compare(trials, results.run.baseline),
        thresholds=evaluate_thresholds(results.run.threshold, rows, trials),
        verification=_agreement(trials),
        search=_search(results, trials),
    )


def _search(results: Results, trials: tuple[TrialSummary, ...]) -> tuple[SearchResult, ...] | None:
    """What each server and model was found to hold, from the trials alone; None where nothing was searched for."""
    if results.goal is None:
        return None
    points: dict[tuple[str, str, str], list[SearchPoint]] = {}
    for trial, seen in zip(trials, results.trials, strict=True):
        series = points.setdefault((trial.label, trial.model.name, trial.unit), [])
        series.append(evaluation.point(results.goal, trial, seen.record, seen.samples))
    return tuple(
        search_result(results.goal, server, model, tried, unit=unit) for (server, model, unit), tried in points.items()
    )


def _agreement(trials: tuple[TrialSummary, ...]) -> Agreement | None:
    """None where no answers were compared."""
    seen = [(trial.id, trial.verification.agrees) for trial in trials if trial.verification]
    compared = [(name, agrees) for name, agrees in seen if agrees is not None]
    if not compared:
        return None
    differ = tuple(name for name, agrees in compared if not agrees)
    return Agreement(agrees=not differ, compared=len(compared), differ=differ)
