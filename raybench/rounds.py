"""Rounds -> intervals, rows of the table and verdicts; rounds are the replicates, samples are never pooled; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

from raybench.stats import CONFIDENCE, TrialSummary


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over rounds and its 95 % interval by Student's t; the bounds are None with one round."""

    mean: float
    low: float | None
    high: float | None
    rounds: int


@dataclass(frozen=True, kw_only=True)
class CellSummary:
    """A row of the table: one endpoint under one load, over its rounds."""

    cell: str
    label: str
    model: str
    status: str
    reason: str | None
    offered_rps: float | None
    achieved_rps: Interval | None
    images_per_s: Interval | None
    job_s: Interval | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    memory_peak_mib: float | None
    gpu_peak_mib: float | None
    trials: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Throughput of a server over that of another on the same model, paired by round; no bounds with one round."""

    model: str
    base: str
    server: str
    batch_size: int
    base_in_flight: int
    in_flight: int
    ratio: float
    low: float | None
    high: float | None
    rounds: int
    verdict: str | None


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


def compare(trials: Iterable[TrialSummary], base: str = "local") -> tuple[Comparison, ...]:
    """Every real server against `base`, or the first there is: the geometric mean of the ratios of each round.

    Compared are cells of one model, signature and batch size, under the same load where the base has it; what it has
    but once, as TensorFlow in process, stands against every load.
    """
    cells: dict[tuple[str, str, int], dict[str, dict[int, TrialSummary]]] = {}
    for trial in filter(_is_comparable, trials):
        alike = (trial.model["name"], trial.signature, trial.load["batch_size"])
        cells.setdefault(alike, {}).setdefault(trial.cell, {})[trial.round] = trial
    found = [_compared_alike(list(each.values()), base) for _, each in sorted(cells.items())]
    return tuple(comparison for each in found for comparison in each)


def _compared_alike(cells: list[Mapping[int, TrialSummary]], base: str) -> list[Comparison]:
    ordered = sorted(cells, key=lambda rounds: (_any(rounds).label, _any(rounds).load["in_flight"]))
    labels = [_any(rounds).label for rounds in ordered]
    against = base if base in labels else labels[0]
    bases = {_lanes(rounds): rounds for rounds, label in zip(ordered, labels, strict=True) if label == against}
    only = next(iter(bases.values())) if len(bases) == 1 else None
    others = [rounds for rounds, label in zip(ordered, labels, strict=True) if label != against]
    pairs = ((bases.get(_lanes(ours), only), ours) for ours in others)
    compared = (_compared(theirs, ours) for theirs, ours in pairs if theirs)
    return [comparison for comparison in compared if comparison]


def _any(rounds: Mapping[int, TrialSummary]) -> TrialSummary:
    return next(iter(rounds.values()))


def _lanes(rounds: Mapping[int, TrialSummary]) -> tuple[int, int]:
    load = _any(rounds).load
    return load["workers"], load["concurrency"]


def _is_comparable(trial: TrialSummary) -> bool:
    """Only whole trials of real servers without a failed request, in closed loop: an open one offers alike to all."""
    is_whole = trial.status == "ok" and not trial.requests.failed and _images_per_s(trial) > 0
    return is_whole and trial.server["kind"] != "fake" and trial.load["arrivals"] == "closed"


def _images_per_s(trial: TrialSummary) -> float:
    return trial.throughput.images_per_s if trial.throughput else 0.0


def _compared(theirs: Mapping[int, TrialSummary], ours: Mapping[int, TrialSummary]) -> Comparison | None:
    paired = [(ours[n], theirs[n]) for n in sorted(ours.keys() & theirs.keys())]
    logs = interval(np.log(_images_per_s(one) / _images_per_s(other)) for one, other in paired)
    if logs is None:
        return None
    one, other = paired[0]
    low, high = (None if v is None else float(np.exp(v)) for v in (logs.low, logs.high))
    verdict = None
    if low is not None and high is not None:
        verdict = "faster" if low > 1 else "slower" if high < 1 else "no difference shown"
    return Comparison(
        model=one.model["name"],
        base=other.label,
        server=one.label,
        batch_size=one.load["batch_size"],
        base_in_flight=other.load["in_flight"],
        in_flight=one.load["in_flight"],
        ratio=float(np.exp(logs.mean)),
        low=low,
        high=high,
        rounds=logs.rounds,
        verdict=verdict,
    )


def _cell(name: str, rounds: list[TrialSummary]) -> CellSummary:
    whole = [trial for trial in rounds if trial.status == "ok"]
    good = [trial for trial in whole or rounds if trial.throughput]  # what was cut short never moves a mean
    bad = next((trial for trial in rounds if trial.status != "ok"), None)
    latencies = [each for trial in good if (each := trial.response_ms or trial.service_ms)]
    return CellSummary(
        cell=name,
        label=rounds[0].label,
        model=rounds[0].model["name"],
        status=bad.status if bad else "ok",
        reason=bad.reason if bad else None,
        offered_rps=rounds[0].load["offered_rps"],
        achieved_rps=interval(trial.achieved_rps for trial in good if trial.achieved_rps is not None),
        images_per_s=interval(trial.throughput.images_per_s for trial in good if trial.throughput),
        job_s=interval(trial.job_s for trial in good if trial.job_s is not None),
        p50_ms=_mean(each.p50 for each in latencies),
        p90_ms=_mean(each.p90 for each in latencies),
        p99_ms=_mean(each.p99 for each in latencies),
        memory_peak_mib=_most(trial.memory.peak_mib for trial in rounds),
        gpu_peak_mib=_most(trial.memory.gpu_peak_mib for trial in rounds),
        trials=tuple(trial.id for trial in rounds),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean over rounds, None unless every round supports the value."""
    given = list(values)
    return float(np.mean([v for v in given if v is not None])) if given and None not in given else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
