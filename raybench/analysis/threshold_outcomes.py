"""Rows of the table -> which thresholds they meet; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from raybench import config
from raybench.analysis.cells import CellSummary, mean, whole
from raybench.analysis.latency import PERCENTILES, samples_needed
from raybench.analysis.trial_summary import TrialSummary
from raybench.config.threshold import ERROR_RATE, MEMORY, THROUGHPUT, Threshold


@dataclass(frozen=True, kw_only=True)
class ThresholdOutcome:
    """One threshold and one row. `value` is in ms, inferences/s, MiB or a share of requests.

    `is_met` is None where `value` is: what could not be judged is neither met nor missed, but fails a run like a miss;
    `unknown` says why.
    """

    threshold: str
    cell: str
    label: str
    model: str
    value: float | None
    is_met: bool | None
    unknown: str | None = None


def evaluate_thresholds(
    texts: Sequence[str], cells: Iterable[CellSummary], trials: Iterable[TrialSummary]
) -> tuple[ThresholdOutcome, ...]:
    """Every threshold against every row: means over rounds as the table has them, of all requests for an error rate."""
    asked = [found for text in texts if (found := config.threshold(text))]
    by_id = {trial.id: trial for trial in trials}
    rows = [(cell, [by_id[name] for name in cell.trials]) for cell in cells]
    return tuple(_outcome(each, cell, rounds) for each in asked for cell, rounds in rows)


def _outcome(asked: Threshold, cell: CellSummary, rounds: list[TrialSummary]) -> ThresholdOutcome:
    is_skipped = all(trial.status == "skipped" for trial in rounds)
    value = None if is_skipped else _value(asked.metric, cell, rounds)
    return ThresholdOutcome(
        threshold=asked.text,
        cell=cell.cell,
        label=cell.label,
        model=cell.model,
        value=value,
        is_met=None if value is None else asked.holds(value),
        unknown=_why_unknown(asked, rounds) if value is None else None,
    )


def _why_unknown(asked: Threshold, rounds: list[TrialSummary]) -> str:
    """Why there is no value to judge."""
    if found := next((trial for trial in rounds if trial.status in ("skipped", "failed", "interrupted")), None):
        return found.status
    if asked.metric in PERCENTILES:
        fewest = min(trial.latency_ms.n if trial.latency_ms else 0 for trial in rounds)
        name, needed = asked.metric.replace("_", "."), samples_needed(PERCENTILES[asked.metric])
        return f"{name} needs {needed} requests, the window had {fewest}"
    return "it was not measured"


def _value(metric: str, cell: CellSummary, rounds: list[TrialSummary]) -> float | None:
    if metric == THROUGHPUT:
        return cell.inferences_per_s.mean if cell.inferences_per_s else None
    if metric == ERROR_RATE:
        attempted = sum(trial.requests.attempted for trial in rounds)
        return sum(trial.requests.failed for trial in rounds) / attempted if attempted else None
    if metric == MEMORY:
        return cell.memory_peak_mib
    latencies = [trial.latency_ms for trial in whole(rounds)]
    return mean(getattr(each, metric) if each else None for each in latencies)
