"""A results folder -> what people read; `run` ends here, and `raybench report DIR` starts here."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raybench import checks, clocks, disturbances, fairness, judge, rounds, search, stats, store, thresholds, verdicts

# A search has no --rounds, it measures again what decides; and its points are as long as its percentile needs.
_NOT_OF_A_SEARCH = frozenset({"one_round", "few_samples"})


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything derived from a results folder."""

    schema_version: int
    run: dict[str, Any]
    environment: dict[str, Any]
    trials: tuple[stats.TrialSummary, ...]
    cells: tuple[rounds.CellSummary, ...]
    comparisons: tuple[verdicts.Comparison, ...]
    thresholds: tuple[thresholds.Outcome, ...]
    verification: Mapping[str, Any] | None
    search: tuple[search.Found, ...] | None


def summarize(results: store.Results) -> Summary:
    """Derive every number and doubt from what was observed."""
    plain = (stats.summarize_trial(trial.record, trial.samples, trial.telemetry) for trial in results.trials)
    baseline = results.run["baseline"]
    doubted = checks.with_doubts(plain, leave_out=_NOT_OF_A_SEARCH if results.goal else frozenset())
    trials = fairness.with_doubts(disturbances.with_doubts(clocks.with_doubts(doubted)), baseline)
    cells = rounds.summarize_cells(trials)
    return Summary(
        schema_version=store.SCHEMA_VERSION,
        run=results.run,
        environment=results.environment,
        trials=trials,
        cells=cells,
        comparisons=verdicts.compare(trials, baseline),
        thresholds=thresholds.judge(results.run["threshold"], cells, trials),
        verification=_verification(trials),
        search=_search(results, trials),
    )


def _search(results: store.Results, trials: tuple[stats.TrialSummary, ...]) -> tuple[search.Found, ...] | None:
    """What each server and model was found to hold, from the trials alone; None where nothing was searched for."""
    if results.goal is None:
        return None
    points: dict[tuple[str, str], list[search.Point]] = {}
    for trial, seen in zip(trials, results.trials, strict=True):
        series = points.setdefault((trial.label, trial.model["name"]), [])
        series.append(judge.point(results.goal, trial, seen.record, seen.samples))
    return tuple(search.found(results.goal, *names, tried) for names, tried in points.items())


def _verification(trials: tuple[stats.TrialSummary, ...]) -> Mapping[str, Any] | None:
    """Whether every server that was compared agrees with TensorFlow, and the trials that do not."""
    compared = [trial for trial in trials if trial.verification and trial.verification["agrees"] is not None]
    if not compared:
        return None
    differ = [trial.id for trial in compared if not trial.verification["agrees"]]  # type: ignore[index]
    return {"agrees": not differ, "compared": len(compared), "differ": differ}


def report(folder: Path) -> Summary:
    """The summary of a results folder, finished or not; raises StoreError."""
    return summarize(store.load(folder))


def as_json(summary: Summary) -> str:
    """The text of summary.json."""
    return json.dumps(asdict(summary), indent=2, allow_nan=False) + "\n"


def save(folder: Path, summary: Summary) -> None:
    """Renew a results folder's summary.json; raises StoreError."""
    store.write_summary(folder, asdict(summary))
