"""A results folder -> what people read; `run` ends here, and `raybench report DIR` starts here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raybench import checks, fairness, rounds, stats, store, verdicts


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything derived from a results folder."""

    schema_version: int
    run: dict[str, Any]
    environment: dict[str, Any]
    trials: tuple[stats.TrialSummary, ...]
    cells: tuple[rounds.CellSummary, ...]
    comparisons: tuple[verdicts.Comparison, ...]
    verification: Mapping[str, Any] | None


def summarize(results: store.Results) -> Summary:
    """Derive every number and doubt from what was observed."""
    plain = (stats.summarize_trial(trial.record, trial.samples, trial.telemetry) for trial in results.trials)
    baseline = results.run["baseline"]
    trials = fairness.with_doubts(checks.with_doubts(plain), baseline)
    return Summary(
        schema_version=store.SCHEMA_VERSION,
        run=results.run,
        environment=results.environment,
        trials=trials,
        cells=rounds.summarize_cells(trials),
        comparisons=verdicts.compare(trials, baseline),
        verification=_verification(trials),
    )


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


def save(folder: Path, summary: Summary) -> None:
    """Renew a results folder's summary.json; raises StoreError."""
    store.write_summary(folder, asdict(summary))
