"""A results folder -> what people read; `run` ends here, and `raybench report DIR` starts here."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raybench.analysis import cells, comparisons, threshold_outcomes, trial_summary
from raybench.analysis.doubts import clock_sync, comparability, environment, measurement
from raybench.analysis.search import evaluation, strategy
from raybench.results import results_folder

# A search has no --rounds, it measures again what decides; and its points are as long as its percentile needs.
_NOT_OF_A_SEARCH = frozenset({"one_round", "few_samples"})


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything derived from a results folder."""

    schema_version: int
    run: dict[str, Any]
    environment: dict[str, Any]
    trials: tuple[trial_summary.TrialSummary, ...]
    cells: tuple[cells.CellSummary, ...]
    comparisons: tuple[comparisons.Comparison, ...]
    thresholds: tuple[threshold_outcomes.Outcome, ...]
    verification: Mapping[str, Any] | None
    search: tuple[strategy.Found, ...] | None


def summarize(results: results_folder.Results) -> Summary:
    """Derive every number and doubt from what was observed."""
    plain = (trial_summary.summarize_trial(trial.record, trial.samples, trial.telemetry) for trial in results.trials)
    baseline = results.run["baseline"]
    doubted = measurement.with_doubts(plain, leave_out=_NOT_OF_A_SEARCH if results.goal else frozenset())
    trials = comparability.with_doubts(environment.with_doubts(clock_sync.with_doubts(doubted)), baseline)
    rows = cells.summarize_cells(trials)
    return Summary(
        schema_version=results_folder.SCHEMA_VERSION,
        run=results.run,
        environment=results.environment,
        trials=trials,
        cells=rows,
        comparisons=comparisons.compare(trials, baseline),
        thresholds=threshold_outcomes.judge(results.run["threshold"], rows, trials),
        verification=_verification(trials),
        search=_search(results, trials),
    )


def _search(
    results: results_folder.Results, trials: tuple[trial_summary.TrialSummary, ...]
) -> tuple[strategy.Found, ...] | None:
    """What each server and model was found to hold, from the trials alone; None where nothing was searched for."""
    if results.goal is None:
        return None
    points: dict[tuple[str, str], list[strategy.Point]] = {}
    for trial, seen in zip(trials, results.trials, strict=True):
        series = points.setdefault((trial.label, trial.model["name"]), [])
        series.append(evaluation.point(results.goal, trial, seen.record, seen.samples))
    return tuple(strategy.found(results.goal, *names, tried) for names, tried in points.items())


def _verification(trials: tuple[trial_summary.TrialSummary, ...]) -> Mapping[str, Any] | None:
    """Whether every server that was compared agrees with TensorFlow, and the trials that do not."""
    compared = [trial for trial in trials if trial.verification and trial.verification["agrees"] is not None]
    if not compared:
        return None
    differ = [trial.id for trial in compared if not trial.verification["agrees"]]  # type: ignore[index]
    return {"agrees": not differ, "compared": len(compared), "differ": differ}


def report(folder: Path) -> Summary:
    """The summary of a results folder, finished or not; raises StoreError."""
    return summarize(results_folder.load(folder))


def as_json(summary: Summary) -> str:
    """The text of summary.json."""
    return json.dumps(asdict(summary), indent=2, allow_nan=False) + "\n"


def save(folder: Path, summary: Summary) -> None:
    """Renew a results folder's summary.json; raises StoreError."""
    results_folder.write_summary(folder, asdict(summary))
