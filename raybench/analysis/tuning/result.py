"""The trials of a tuning -> what was tried, which configuration won, and whether it was shown to be better; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from raybench.analysis.cells import Interval, interval
from raybench.analysis.comparisons import is_whole
from raybench.analysis.search.strategy import SearchPoint, boundary
from raybench.analysis.trial_summary import TrialSummary
from raybench.analysis.tuning.strategy import (
    CONFIRMATION,
    FIRST_CONFIRMATION,
    HALVING,
    SCREENING,
    Configuration,
    KnobValues,
    Measured,
    confirmed,
    leader,
    next_round,
)
from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal

BETTER, NOT_SHOWN = "better", "not shown to be better"


@dataclass(frozen=True, kw_only=True)
class TriedConfiguration:
    """A configuration that was measured: the mean of its values over its rounds, and the last stage that it reached.

    `value` is inferences/s, or with a latency goal the highest requests/s within it; None without a number, with the
    `reason`.
    """

    name: str
    server: str
    model: str
    knobs: KnobValues
    stage: str
    rounds: int
    value: float | None
    p99_ms: float | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """What a tuning came to. `ratio` is that of the fresh rounds alone, None where there were none.

    `winner` is None where nothing gave a number; `verdict` says whether its gain over the default was shown.
    """

    threshold: str | None
    unit: str
    default: str
    winner: str | None
    ratio: Interval | None
    winner_rate: Interval | None
    verdict: str
    is_over: bool
    configurations: int
    measurements: int
    tried: tuple[TriedConfiguration, ...]


@dataclass(frozen=True)
class Measurement:
    """One configuration in one round: its value, and the trials behind it."""

    value: float | None
    trials: tuple[TrialSummary, ...]
    reason: str | None = None


Measurements = Mapping[str, Mapping[int, Measurement]]


def throughput_measurement(trial: TrialSummary) -> Measurement:
    """Of a closed loop: inferences/s of a whole trial; None where a request failed."""
    if is_whole(trial) and trial.throughput:
        return Measurement(trial.throughput.inferences_per_s, (trial,))
    failed = f"{trial.requests.failed} of {trial.requests.attempted} requests failed" if trial.requests.failed else None
    return Measurement(None, (trial,), trial.reason or failed or "it has no throughput")


def rate_measurement(goal: Goal, points: Sequence[SearchPoint], trials: Sequence[TrialSummary]) -> Measurement:
    """Of a search: the middle, on the log scale, of the highest rate that held and the lowest that did not."""
    held, broke = boundary(goal, points)
    if held is None:
        reason = next((point.reason for point in points if point.reason), None)
        return Measurement(None, tuple(trials), reason or "no rate that was tried held")
    return Measurement((held * broke) ** 0.5 if broke else held, tuple(trials))


def values(measurements: Measurements) -> Measured:
    """Only the numbers."""
    return {name: {n: each.value for n, each in rounds.items()} for name, rounds in measurements.items()}


def tuning_result(space: Sequence[Configuration], measurements: Measurements, goal: TuningGoal) -> TuningResult:
    """What the measurements so far come to."""
    measured, default = values(measurements), space[0].name
    best = leader(space, measured)
    ratio = confirmed(best, default, measured) if best and best != default else None
    is_better = ratio is not None and ratio.low is not None and ratio.low > 1
    tried = tuple(_tried(each, measurements[each.name]) for each in space if measurements.get(each.name))
    return TuningResult(
        threshold=goal.latency.threshold if goal.latency else None,
        unit="requests" if goal.latency else _unit(measurements),
        default=default,
        winner=best,
        ratio=ratio,
        winner_rate=_fresh_rate(measurements.get(best or "", {})),
        verdict=BETTER if is_better else NOT_SHOWN,
        is_over=next_round(space, measured, goal) is None,
        configurations=len(space),
        measurements=sum(map(len, measured.values())),
        tried=tuple(sorted(tried, key=lambda each: -(each.value or 0))),
    )


def _tried(each: Configuration, rounds: Mapping[int, Measurement]) -> TriedConfiguration:
    known = [found.value for found in rounds.values() if found.value is not None]
    trials = [trial for found in rounds.values() for trial in found.trials]
    latencies = [t.latency_ms.p99 for t in trials if t.latency_ms and t.latency_ms.p99 is not None]
    return TriedConfiguration(
        name=each.name,
        server=trials[0].label,
        model=trials[0].model.name,
        knobs=each.values,
        stage=stage_of(max(rounds)),
        rounds=len(rounds),
        value=fmean(known) if known else None,
        p99_ms=fmean(latencies) if latencies else None,
        reason=None if known else next((found.reason for found in rounds.values() if found.reason), None),
    )


def stage_of(number: int) -> str:
    """The stage that a round belongs to."""
    if number >= FIRST_CONFIRMATION:
        return CONFIRMATION
    return SCREENING if number == 1 else HALVING


def _fresh_rate(rounds: Mapping[int, Measurement]) -> Interval | None:
    fresh = [each.value for number, each in rounds.items() if number >= FIRST_CONFIRMATION]
    return interval(value for value in fresh if value is not None)


def _unit(measurements: Measurements) -> str:
    units = {trial.unit for rounds in measurements.values() for each in rounds.values() for trial in each.trials}
    return units.pop() if len(units) == 1 else "inferences"


def grouped(space: Iterable[Configuration], trials: Iterable[TrialSummary]) -> Mapping[str, Mapping[int, list[int]]]:
    """By configuration and round, which of the trials belong to it, as their positions."""
    names = {(each.first.cell.label, each.first.cell.model): each.name for each in space}
    found: dict[str, dict[int, list[int]]] = {}
    for position, trial in enumerate(trials):
        if name := names.get((trial.label, trial.model.name)):
            found.setdefault(name, {}).setdefault(trial.round, []).append(position)
    return found
