"""Searches for a load that holds: points tried so far -> the next value to try, and what was found; pure.

A search climbs its steps until a value does not hold, halves the gap below it to 5 %, and measures both sides of what
is left again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from raybench import config
from raybench.analysis.latency import PERCENTILES
from raybench.config import Benchmark, ConfigError
from raybench.config.search_goal import LATENCY, OOM, Goal

HELD, BROKE, UNKNOWN = "held", "broke", "unknown"
RATE = "request_rate"
_REPEATS = {OOM: 2, LATENCY: 3}  # of a value at the boundary
_GAP = 1.05  # a boundary is known well enough at 5 %
_MOST_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class SearchPoint:
    """One trial of a search. `latency_ms` is the percentile that the goal names, a failed request slower than any."""

    trial: str
    value: float
    round: int
    verdict: str
    reason: str | None
    requests: int
    failed: int
    latency_ms: float | None
    inferences_per_s: float | None
    goodput_rps: float | None


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search of one server and model came to, from its points in the order in which they were tried."""

    kind: str
    variable: str
    threshold: str | None
    server: str
    model: str
    unit: str
    is_over: bool
    feasible_max: float | None
    first_breach: float | None
    goodput_rps: float | None
    reason: str | None
    points: tuple[SearchPoint, ...]


def threshold(text: str) -> tuple[str, float]:
    """The percentile, and the limit in ms, of such as p99<100ms or p99.9<0.5s; raises ConfigError."""
    found = config.threshold(text)
    if found is None or found.metric not in PERCENTILES or found.operator != "<" or not 0 < found.limit < 1e9:
        names = ", ".join(PERCENTILES).replace("_", ".")
        raise ConfigError(f"latency-threshold is {text}; write such as p99<100ms, of {names}")
    return found.metric, found.limit


def doublings(low: float, high: float) -> tuple[float, ...]:
    """From low, each step twice the one before, to high."""
    steps = [low]
    while steps[-1] * 2 < high and len(steps) < _MOST_STEPS:
        steps.append(steps[-1] * 2)
    return (*steps, high) if high > low else (low,)


def at(benchmark: Benchmark, variable: str, value: float) -> Benchmark:
    """The benchmark with one value of the variable."""
    return benchmark.with_loads(benchmark.loads[0].changed(**load(variable, value)))


def load(variable: str, value: float) -> dict[str, object]:
    """One step of a search, as one of a benchmark's `loads`."""
    return {variable: (value,) if variable == RATE else int(value)}


def next_value(goal: Goal, points: Sequence[SearchPoint]) -> float | None:
    """The value to measure next; None when the search is over."""
    if any(point.verdict == UNKNOWN for point in points):
        return None
    tried = dict.fromkeys(point.value for point in points)
    if contested := [value for value in tried if _is_contested(goal, points, value)]:
        return contested[0]
    held, broke = boundary(goal, points)
    if broke is None and (ahead := [step for step in goal.steps if step not in tried]):
        return ahead[0]
    if held is not None and broke is not None and (between := _between(goal, held, broke)):
        return between
    return next((v for v in (held, broke) if v is not None and not _is_settled(goal, points, v)), None)


def boundary(goal: Goal, points: Sequence[SearchPoint]) -> tuple[float | None, float | None]:
    """The highest value that held below every one that did not, and the lowest that did not; None where there is none.

    Of a value that was measured repeatedly the majority counts; where memory ran out, once is enough.
    """
    verdicts = {point.value: _verdict(goal, points, point.value) for point in points}
    broke = min((value for value, verdict in verdicts.items() if verdict == BROKE), default=None)
    held = [v for v, verdict in verdicts.items() if verdict == HELD and (broke is None or v < broke)]
    return max(held, default=None), broke


def _verdict(goal: Goal, points: Sequence[SearchPoint], value: float) -> str:
    verdicts = [point.verdict for point in points if point.value == value]
    if UNKNOWN in verdicts:
        return UNKNOWN
    broke = verdicts.count(BROKE)
    return BROKE if broke > (0 if goal.kind == OOM else len(verdicts) / 2) else HELD


def _is_settled(goal: Goal, points: Sequence[SearchPoint], value: float) -> bool:
    """Whether no further measurement of a value could change what it counts for."""
    verdicts = [point.verdict for point in points if point.value == value]
    most = _REPEATS[goal.kind]
    return len(verdicts) >= most or max(map(verdicts.count, (HELD, BROKE))) > most / 2


def _is_contested(goal: Goal, points: Sequence[SearchPoint], value: float) -> bool:
    """Whether a value was measured with both results, and once more decides."""
    seen = {point.verdict for point in points if point.value == value}
    return len(seen) > 1 and not _is_settled(goal, points, value)


def _between(goal: Goal, held: float, broke: float) -> float | None:
    """The middle of a gap that is worth halving."""
    if broke / held <= _GAP or (goal.variable != RATE and broke - held <= 1):
        return None
    middle = (held + broke) / 2
    return float(f"{middle:.3g}") if goal.variable == RATE else middle // 1


def search_result(goal: Goal, server: str, model: str, points: Iterable[SearchPoint], *, unit: str) -> SearchResult:
    """What the points of one server and model come to."""
    tried = tuple(points)
    held, broke = boundary(goal, tried)
    unknown = next((p for p in tried if p.verdict == UNKNOWN), None)
    blamed = unknown or next((p for p in tried if p.value == broke and p.verdict == BROKE), None)
    goods = [p.goodput_rps for p in tried if p.value == held and p.verdict == HELD and p.goodput_rps is not None]
    return SearchResult(
        kind=goal.kind,
        variable=goal.variable,
        threshold=goal.threshold,
        server=server,
        model=model,
        unit=unit,
        is_over=unknown is None and next_value(goal, tried) is None,
        feasible_max=held,
        first_breach=broke,
        goodput_rps=fmean(goods) if goods else None,
        reason=blamed.reason if blamed else None,
        points=tried,
    )
