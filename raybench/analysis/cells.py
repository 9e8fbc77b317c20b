"""Rounds -> intervals and rows of the table; rounds are the replicates, samples are never pooled; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

from raybench.analysis import units
from raybench.analysis.client_cost import ClientCost, mean_cost
from raybench.analysis.latency import CONFIDENCE
from raybench.analysis.trial_summary import TrialSummary


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over rounds and its 95 % interval by Student's t; the bounds are None with one round."""

    mean: float
    low: float | None
    high: float | None
    rounds: int


@dataclass(frozen=True, kw_only=True)
class CellSummary:
    """A row of the table: one endpoint under one load, over its rounds; `unit` is images or inferences.

    Each interval says over how many of them; a percentile is of all that count, or None.
    """

    cell: str
    label: str
    model: str
    status: str
    reason: str | None
    unit: str
    batch_size: int
    in_flight: int
    offered_rps: float | None
    achieved_rps: Interval | None
    inferences_per_s: Interval | None
    job_s: Interval | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    memory_peak_mib: float | None
    gpu_peak_mib: float | None
    headroom: float | None
    client_cost: ClientCost | None
    trials: tuple[str, ...] = field(default_factory=tuple)


def interval(values: Iterable[float]) -> Interval | None:
    """Mean and 95 % interval of independent replicates (rounds), Student's t with n − 1 degrees of freedom."""
    x = np.array(list(values), float)
    if len(x) == 0:
        return None
    if len(x) == 1:
        return Interval(mean=float(x[0]), low=None, high=None, rounds=1)
    half = float(stdtrit(len(x) - 1, (1 + CONFIDENCE) / 2) * x.std(ddof=1) / np.sqrt(len(x)))
    return Interval(mean=float(x.mean()), low=float(x.mean()) - half, high=float(x.mean()) + half, rounds=len(x))


def summarize_cells(trials: Iterable[TrialSummary]) -> tuple[CellSummary, ...]:
    """The rows of the table, in order of model and then server; means over the rounds that gave numbers."""
    by_cell: dict[str, list[TrialSummary]] = {}
    for trial in trials:
        by_cell.setdefault(trial.cell, []).append(trial)
    cells = [_cell(name, rounds) for name, rounds in by_cell.items()]
    return tuple(sorted(cells, key=lambda cell: (cell.model, cell.label, cell.offered_rps or 0)))


def _cell(name: str, rounds: list[TrialSummary]) -> CellSummary:
    good, sent = counted(rounds), whole(rounds)
    bad = next((trial for trial in rounds if trial.status != "ok"), None)
    latencies = [trial.latency_ms for trial in sent]
    return CellSummary(
        cell=name,
        label=rounds[0].label,
        model=rounds[0].model.name,
        status=bad.status if bad else "ok",
        reason=bad.reason if bad else None,
        unit=units.common(trial.unit for trial in rounds),
        batch_size=rounds[0].load.batch_size,
        in_flight=rounds[0].load.in_flight,
        offered_rps=rounds[0].load.offered_rps,
        achieved_rps=interval(trial.achieved_rps for trial in good if trial.achieved_rps is not None),
        inferences_per_s=interval(trial.throughput.inferences_per_s for trial in good if trial.throughput),
        job_s=interval(trial.job_s for trial in sent if trial.job_s is not None),
        p50_ms=mean(each.p50 if each else None for each in latencies),
        p90_ms=mean(each.p90 if each else None for each in latencies),
        p99_ms=mean(each.p99 if each else None for each in latencies),
        memory_peak_mib=_most(trial.memory.peak_mib for trial in rounds),
        gpu_peak_mib=_most(trial.memory.gpu_peak_mib for trial in rounds),
        headroom=min((trial.headroom for trial in good if trial.headroom is not None), default=None),
        client_cost=mean_cost(trial.client_cost for trial in sent),
        trials=tuple(trial.id for trial in rounds),
    )


def counted(rounds: list[TrialSummary]) -> list[TrialSummary]:
    """The trials of a cell that its rates are the means of: those that count and had a window."""
    return [trial for trial in whole(rounds) if trial.throughput]


def whole(rounds: list[TrialSummary]) -> list[TrialSummary]:
    """The trials that count: what was cut short never moves a number of those that were not."""
    return [trial for trial in rounds if trial.status == "ok"] or [each for each in rounds if each.requests.attempted]


def mean(values: Iterable[float | None]) -> float | None:
    """The mean over rounds, None unless every round supports the value."""
    given = list(values)
    return float(np.mean([v for v in given if v is not None])) if given and None not in given else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
