"""Searches for a load that holds: points tried so far -> the next value to try, and what was found; pure.

A search climbs its steps until a value does not hold, halves the gap below it to 5 %, and measures both sides of what
is left again. A rate near what an overloaded server could do does not hold, whatever was measured at it: its queue
grows for longer than a trial lasts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import fmean

from raybench import config
from raybench.analysis.latency import PERCENTILES, samples_needed
from raybench.analysis.plain_numbers import plain
from raybench.config import Benchmark, ConfigError, plan
from raybench.config.search_goal import LATENCY, OOM, Goal

HELD, BROKE, UNKNOWN = "held", "broke", "unknown"
LATE = "late"  # the client was, which says nothing about the server: the value is measured again
_MOST_LATE = 3
RATE = "request_rate"
_REPEATS = {OOM: 2, LATENCY: 3}  # of a value at the boundary
_MOST_STEPS = 100
_LEAST_S, _LIMITS = 10.0, 20  # a step lasts at least so many seconds, and so many times the limit
_REQUESTS, _REPEATED, _LONG_S = 1_500, 6_000, 60.0  # and longer, to see a queue
_SPARE = 1.2  # times the requests that a percentile needs
_MOST_LOAD = 0.98  # of what the server did under overload


@dataclass(frozen=True, kw_only=True)
class SearchPoint:
    """One trial of a search. `latency_ms` is the percentile that the goal names, a failed request slower than any.

    `capacity_rps` is what the server answered where it was overloaded.
    """

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
    capacity_rps: float | None = None


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
        raise ConfigError(f"latency-threshold is {text}; write one like p99<100ms, of {names}")
    return found.metric, found.limit


def doublings(low: float, high: float) -> tuple[float, ...]:
    """From low, each step twice the one before, to high."""
    steps = [low]
    while steps[-1] * 2 < high and len(steps) < _MOST_STEPS:
        steps.append(steps[-1] * 2)
    return (*steps, high) if high > low else (low,)


def at(benchmark: Benchmark, goal: Goal, value: float, *, models: tuple[str, ...] = (), round: int = 1) -> Benchmark:
    """The benchmark with one value of the variable, which is measured for the `round`-th time; of its loads, which may
    differ by model, that of these."""
    base = next(load for load in benchmark.loads if set(models) <= set(load.model))
    return benchmark.with_loads(base.changed(**load(goal, value, workers=base.workers, round=round)))


def load(goal: Goal, value: float, *, workers: int, round: int = 1) -> dict[str, object]:
    """One step of a search, as one of a benchmark's `loads`."""
    length = {"duration": step_s(goal, value, workers=workers, round=round)} if goal.is_adaptive else {}
    return {goal.variable: (value,) if goal.variable == RATE else int(value), **length}


def trial_at(benchmark: Benchmark, goal: Goal, first: plan.Trial, value: float, *, round: int = 1) -> plan.Trial:
    """The trial of one step, of the server and model of `first`, reached alike."""
    planned = plan.trials(at(benchmark, goal, value, models=first.cell.models, round=round))
    return replace(next(trial for trial in planned if trial.cell.endpoint == first.cell.endpoint), round=round)


def least_s(goal: Goal) -> float:
    """How long a step lasts at least: an overload must have time to show."""
    return max(_LEAST_S, _LIMITS * (goal.limit_ms or 0.0) / 1e3)


def step_s(goal: Goal, value: float, *, workers: int, round: int = 1) -> float:
    """How long a step of a latency search lasts, in whole seconds; in a closed loop at most.

    Enough requests for the percentile, and where the rate allows for a mean over many of a queue's ups and downs; a
    repeat decides, and is longer. A closed loop that is as slow as the limit sends as many requests a limit as it has
    lanes.
    """
    needed = _SPARE * samples_needed(PERCENTILES[goal.percentile or ""])
    if goal.variable == RATE:
        wanted = min(_LONG_S, (_REQUESTS if round == 1 else _REPEATED) / value)
        return float(ceil(max(least_s(goal), needed / value, wanted)))
    return float(ceil(max(least_s(goal), needed * (goal.limit_ms or 0.0) / 1e3 / (workers * value))))


def next_value(goal: Goal, points: Sequence[SearchPoint]) -> float | None:
    """The value to measure next; None when the search is over."""
    if any(point.verdict == UNKNOWN for point in points):
        return None
    if points and points[-1].verdict == LATE:
        late = [point for point in points if point.verdict == LATE and point.value == points[-1].value]
        return points[-1].value if len(late) < _MOST_LATE else None
    points = [point for point in points if point.verdict != LATE]
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
    points = [point for point in points if point.verdict != LATE]
    verdicts = {point.value: _verdict(goal, points, point.value) for point in points}
    broke = min((value for value, verdict in verdicts.items() if verdict == BROKE), default=None)
    held = [v for v, verdict in verdicts.items() if verdict == HELD and (broke is None or v < broke)]
    return max(held, default=None), broke


def _verdict(goal: Goal, points: Sequence[SearchPoint], value: float) -> str:
    verdicts = [point.verdict for point in points if point.value == value]
    if UNKNOWN in verdicts:
        return UNKNOWN
    if goal.variable == RATE and (most := _capacity_rps(points)) and value > _MOST_LOAD * most:
        return BROKE
    broke = verdicts.count(BROKE)
    return BROKE if broke > (0 if goal.kind == OOM else len(verdicts) / 2) else HELD


def _capacity_rps(points: Sequence[SearchPoint]) -> float | None:
    """What the server answered a second where it was overloaded, over all such points; None without one."""
    full = [(point.capacity_rps, point.requests) for point in points if point.capacity_rps]
    requests = sum(count for _, count in full)
    return sum(rps * count for rps, count in full) / requests if requests else None


def _is_settled(goal: Goal, points: Sequence[SearchPoint], value: float) -> bool:
    """Whether no further measurement of a value could change what it counts for."""
    verdicts = [point.verdict for point in points if point.value == value]
    if _verdict(goal, points, value) == BROKE and BROKE not in verdicts:
        return True
    most = goal.repeats or _REPEATS[goal.kind]
    return len(verdicts) >= most or max(map(verdicts.count, (HELD, BROKE))) > most / 2


def _is_contested(goal: Goal, points: Sequence[SearchPoint], value: float) -> bool:
    """Whether a value was measured with both results, and once more decides."""
    seen = {point.verdict for point in points if point.value == value}
    return len(seen) > 1 and not _is_settled(goal, points, value)


def _between(goal: Goal, held: float, broke: float) -> float | None:
    """The middle of a gap that is worth halving."""
    if broke / held <= goal.gap or (goal.variable != RATE and broke - held <= 1):
        return None
    middle = (held + broke) / 2
    return float(f"{middle:.3g}") if goal.variable == RATE else middle // 1


def search_result(goal: Goal, server: str, model: str, points: Iterable[SearchPoint], *, unit: str) -> SearchResult:
    """What the points of one server and model come to."""
    tried = tuple(points)
    held, broke = boundary(goal, tried)
    unknown = next((p for p in tried if p.verdict == UNKNOWN or (p is tried[-1] and p.verdict == LATE)), None)
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
        reason=blamed.reason if blamed else _saturated(tried, broke),
        points=tried,
    )


def _saturated(points: Sequence[SearchPoint], broke: float | None) -> str | None:
    """Why a rate whose trials kept the limit does not hold."""
    most = _capacity_rps(points)
    return (
        f"the server answers at most {plain(most, 4)} requests/s: this close to that, its queue grows"
        if broke and most
        else None
    )
