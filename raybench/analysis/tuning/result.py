"""The trials of a tuning -> what was tried, which configuration won, and whether it was shown to be better; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from raybench.analysis.cells import Interval
from raybench.analysis.comparisons import is_whole
from raybench.analysis.search.strategy import LATE, UNKNOWN, SearchPoint, boundary
from raybench.analysis.trial_summary import TrialSummary
from raybench.analysis.tuning.halving import (
    CONFIRMATION,
    FIRST_CONFIRMATION,
    FIRST_HALVING,
    HALVING,
    SCREENING,
    Configuration,
    KnobValues,
    Measured,
    confirmed,
    has_number,
    leader,
    next_round,
    ratio_of,
)
from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal

BETTER, NOT_SHOWN = "better", "not shown to be better"


@dataclass(frozen=True, kw_only=True)
class TriedConfiguration:
    """A configuration that was measured: the mean of its values over its rounds, and the last stage that it reached.

    `value` is inferences/s, or with a latency goal requests/s between the highest rate that held and the lowest that
    did not; `ratio` is to the default, over the fresh rounds of both or else all rounds of both. None is not known;
    `failed` rounds gave no number, for the `reason`.
    """

    name: str
    server: str
    model: str
    knobs: KnobValues
    stage: str
    rounds: int
    value: float | None
    ratio: float | None
    p50_ms: float | None
    p99_ms: float | None
    failed: int
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """What a tuning came to. `ratio` is that of the fresh rounds alone, None where there were none.

    `winner` is None where nothing gave a number; `verdict` says whether its gain over the default was shown, and
    `to_deploy` is the winner or, where it was not, the default.
    """

    threshold: str | None
    unit: str
    default: str
    winner: str | None
    ratio: Interval | None
    verdict: str
    to_deploy: str | None
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
    """Of a search, with a point for each trial: the middle, on the log scale, of the highest rate that held and the
    lowest that did not. Of the trials those at the rate that held are kept."""
    if points and points[-1].verdict in (LATE, UNKNOWN):
        return Measurement(None, tuple(trials), points[-1].reason or "the client was late")
    held, broke = boundary(goal, points)
    if held is None:
        reason = next((point.reason for point in points if point.reason), None)
        return Measurement(None, tuple(trials), reason or "no rate that was tried held")
    held_trials = tuple(trial for at, trial in zip(points, trials, strict=True) if at.value == held)
    return Measurement((held * broke) ** 0.5 if broke else held, held_trials)


def values(measurements: Measurements) -> Measured:
    """Only the numbers."""
    return {name: {n: each.value for n, each in rounds.items()} for name, rounds in measurements.items()}


def tuning_result(space: Sequence[Configuration], measurements: Measurements, goal: TuningGoal) -> TuningResult:
    """What the measurements so far come to."""
    measured, default = values(measurements), space[0].name
    best = leader(space, measured)
    ratio = confirmed(best, default, measured) if best and best != default else None
    is_better = _is_shown(ratio)
    tried = tuple(
        _tried(each, measurements[each.name], measured, default) for each in space if measurements.get(each.name)
    )
    return TuningResult(
        threshold=goal.latency.threshold if goal.latency else None,
        unit="requests" if goal.latency else _unit(measurements),
        default=default,
        winner=best,
        ratio=ratio,
        verdict=BETTER if is_better else NOT_SHOWN,
        to_deploy=to_deploy(space, measured),
        is_over=next_round(space, measured, goal) is None,
        configurations=len(space),
        measurements=sum(map(len, measured.values())),
        tried=tuple(sorted(tried, key=lambda each: -(each.value or 0))),
    )


def to_deploy(space: Sequence[Configuration], measured: Measured) -> str | None:
    """The configuration whose files are left: the winner where it was shown to be better, else a default that works."""
    best, default = leader(space, measured), space[0].name
    if best is None or not has_number(measured, default) or _is_shown(confirmed(best, default, measured)):
        return best
    return default


def _is_shown(ratio: Interval | None) -> bool:
    return ratio is not None and ratio.low is not None and ratio.low > 1


def _tried(
    each: Configuration, rounds: Mapping[int, Measurement], measured: Measured, default: str
) -> TriedConfiguration:
    known = [found.value for found in rounds.values() if found.value is not None]
    trials = [trial for found in rounds.values() for trial in found.trials]
    return TriedConfiguration(
        name=each.name,
        server=each.first.cell.label,
        model=each.first.cell.model,
        knobs=each.values,
        stage=stage_of(max(rounds)),
        rounds=len(rounds),
        value=fmean(known) if known else None,
        ratio=ratio_of(each.name, default, measured),
        p50_ms=_mean_ms(trials, "p50"),
        p99_ms=_mean_ms(trials, "p99"),
        failed=len(rounds) - len(known),
        reason=next((found.reason for found in rounds.values() if found.value is None and found.reason), None),
    )


def _mean_ms(trials: Iterable[TrialSummary], percentile: str) -> float | None:
    """Over the trials that have it."""
    found = [getattr(trial.latency_ms, percentile) for trial in trials if trial.latency_ms]
    known = [value for value in found if value is not None]
    return fmean(known) if known else None


def stage_of(number: int) -> str:
    """The stage that a round belongs to."""
    if number >= FIRST_CONFIRMATION:
        return CONFIRMATION
    return SCREENING if number < FIRST_HALVING else HALVING


def _unit(measurements: Measurements) -> str:
    units = {trial.unit for rounds in measurements.values() for each in rounds.values() for trial in each.trials}
    return units.pop() if len(units) == 1 else "inferences"
