"""Searches for a load that holds: points tried so far -> the next value to try, and what was found; pure.

A search climbs its steps until a value does not hold, halves the gap below it to 5 %, and measures both sides of what
is left again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import bdtr

from raybench import samples
from raybench.config import Benchmark, ConfigError
from raybench.stats import CONFIDENCE, PERCENTILES, TrialSummary, samples_needed

OOM, LATENCY = "until_oom", "latency"
HELD, BROKE, UNKNOWN = "held", "broke", "unknown"
RATE = "request_rate"
VARIABLES = ("workers", "concurrency", "batch_size", RATE)
_LOAD_KEYS = {RATE: "offered_rps"}  # by what name a trial's load has a variable; the others have their own
_REPEATS = {OOM: 2, LATENCY: 3}  # of a value at the boundary
_GAP = 1.05  # a boundary is known well enough at 5 %
_MOST_STEPS = 100
_LONGEST_REASON = 300
# What TensorFlow, Triton, C++, CUDA and Python say when memory has run out; TensorFlow's oneDNN says its
# dnnl_out_of_memory by number: "Operation received an exception:Status: 1, message: could not create a primitive".
_MEMORY = (
    *("resource_exhausted", "resource exhausted", "resourceexhausted", "out of memory", "out-of-memory", "oom when"),
    *("bad_alloc", "memoryerror", "cannot allocate memory", "unable to allocate", "failed to allocate"),
    "exception:status: 1,",
)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is searched for: the last of `steps`, and of what lies between two, that holds.

    `kind` is until_oom or latency; a latency search has a `percentile` that must stay under `limit_ms`.
    """

    kind: str
    variable: str
    steps: tuple[float, ...]
    percentile: str | None = None
    limit_ms: float | None = None

    @property
    def threshold(self) -> str | None:
        """Such as p99<100ms."""
        return f"{(self.percentile or '').replace('_', '.')}<{self.limit_ms:g}ms" if self.limit_ms else None


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trial of a search. `latency_ms` is the percentile that the goal names, a failed request slower than any."""

    trial: str
    value: float
    round: int
    verdict: str
    reason: str | None
    requests: int
    failed: int
    latency_ms: float | None
    images_per_s: float | None
    goodput_rps: float | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search of one server and model came to, from its points in the order in which they were tried."""

    kind: str
    variable: str
    threshold: str | None
    server: str
    model: str
    is_over: bool
    feasible_max: float | None
    first_breach: float | None
    goodput_rps: float | None
    reason: str | None
    points: tuple[Point, ...]


def goal(asked: Mapping[str, Any]) -> Goal:
    """A goal as it stands in search.json."""
    return Goal(**{**asked, "steps": tuple(asked["steps"])})


def threshold(text: str) -> tuple[str, float]:
    """The percentile, and the limit in ms, of such as p99<100ms or p99.9<0.5s; raises ConfigError."""
    name, _, limit = text.replace(" ", "").partition("<")
    percentile, scale = name.replace(".", "_"), 1.0 if limit.endswith("ms") else 1e3
    try:
        limit_ms = float(limit.removesuffix("s").removesuffix("m")) * scale
    except ValueError:
        limit_ms = 0.0
    if percentile not in PERCENTILES or not limit.endswith("s") or not 0 < limit_ms < 1e9:
        names = ", ".join(PERCENTILES).replace("_", ".")
        raise ConfigError(f"latency-threshold is {text}; write such as p99<100ms, of {names}")
    return percentile, limit_ms


def doublings(low: float, high: float) -> tuple[float, ...]:
    """From low, each step twice the one before, to high."""
    steps = [low]
    while steps[-1] * 2 < high and len(steps) < _MOST_STEPS:
        steps.append(steps[-1] * 2)
    return (*steps, high) if high > low else (low,)


def at(benchmark: Benchmark, variable: str, value: float) -> Benchmark:
    """The benchmark with one value of the variable."""
    return replace(benchmark, loads=(load(variable, value),)).variants[0]


def load(variable: str, value: float) -> dict[str, Any]:
    """One step of a search, as one of a benchmark's `loads`."""
    return {variable: (value,) if variable == RATE else int(value)}


def next_value(goal: Goal, points: Sequence[Point]) -> float | None:
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


def boundary(goal: Goal, points: Sequence[Point]) -> tuple[float | None, float | None]:
    """The highest value that held below every one that did not, and the lowest that did not; None where there is none.

    Of a value that was measured repeatedly the majority counts; where memory ran out, once is enough.
    """
    verdicts = {point.value: _verdict(goal, points, point.value) for point in points}
    broke = min((value for value, verdict in verdicts.items() if verdict == BROKE), default=None)
    held = [v for v, verdict in verdicts.items() if verdict == HELD and (broke is None or v < broke)]
    return max(held, default=None), broke


def _verdict(goal: Goal, points: Sequence[Point], value: float) -> str:
    verdicts = [point.verdict for point in points if point.value == value]
    if UNKNOWN in verdicts:
        return UNKNOWN
    broke = verdicts.count(BROKE)
    return BROKE if broke > (0 if goal.kind == OOM else len(verdicts) / 2) else HELD


def _is_settled(goal: Goal, points: Sequence[Point], value: float) -> bool:
    """Whether no further measurement of a value could change what it counts for."""
    verdicts = [point.verdict for point in points if point.value == value]
    most = _REPEATS[goal.kind]
    return len(verdicts) >= most or max(map(verdicts.count, (HELD, BROKE))) > most / 2


def _is_contested(goal: Goal, points: Sequence[Point], value: float) -> bool:
    """Whether a value was measured with both results, and once more decides."""
    seen = {point.verdict for point in points if point.value == value}
    return len(seen) > 1 and not _is_settled(goal, points, value)


def _between(goal: Goal, held: float, broke: float) -> float | None:
    """The middle of a gap that is worth halving."""
    if broke / held <= _GAP or (goal.variable != RATE and broke - held <= 1):
        return None
    middle = (held + broke) / 2
    return float(f"{middle:.3g}") if goal.variable == RATE else middle // 1


def point(goal: Goal, trial: TrialSummary, record: Mapping[str, Any], rows: pa.Table) -> Point:
    """What one trial says about the goal."""
    measured = samples.measured(rows)
    times_ms = _times_ms(measured) if goal.limit_ms else None
    verdict, reason = _judged(goal, trial, record, measured)
    met = int(np.count_nonzero(times_ms < goal.limit_ms)) if times_ms is not None and len(times_ms) else None
    return Point(
        trial=trial.id,
        value=trial.load[_LOAD_KEYS.get(goal.variable, goal.variable)],
        round=trial.round,
        verdict=verdict,
        reason=reason,
        requests=trial.requests.attempted,
        failed=trial.requests.failed,
        latency_ms=_percentile_ms(goal, times_ms),
        images_per_s=trial.throughput.images_per_s if trial.throughput else None,
        goodput_rps=met / trial.job_s if met is not None and trial.job_s else None,
    )


def is_hopeless(goal: Goal, tables: list[pa.Table]) -> bool:
    """Whether the requests so far decide already that the percentile lies above the limit, with 95 % confidence.

    Only a breach may end a trial early: a queue that grows shows late. By the order statistics of stats: the limit
    lies below the bound when more requests exceed it than Binomial(n, 1 - p) would have.
    """
    if not goal.limit_ms or not tables:
        return False
    rows = samples.merge(tables)
    over, p = int(np.count_nonzero(_times_ms(rows) >= goal.limit_ms)), PERCENTILES[goal.percentile or ""]
    return over > 0 and float(bdtr(over - 1, len(rows), 1 - p)) > (1 + CONFIDENCE) / 2


def _times_ms(measured: pa.Table) -> np.ndarray:
    """Response of each request, in closed loop service; a failed one is slower than any limit; float [n]."""
    response_ns = samples.response_ns(measured)
    times = (samples.service_ns(measured) if response_ns is None else response_ns) / 1e6
    is_ok = pc.equal(measured["status"].cast(pa.string()), samples.OK)
    return np.where(is_ok.to_numpy(), times, np.inf)


def _percentile_ms(goal: Goal, times_ms: np.ndarray | None) -> float | None:
    """Nearest rank; None where failed requests are so many that there is none, or without requests."""
    if times_ms is None or len(times_ms) == 0:
        return None
    found = float(np.quantile(times_ms, PERCENTILES[goal.percentile or ""], method="inverted_cdf"))
    return found if np.isfinite(found) else None


def _judged(goal: Goal, trial: TrialSummary, record: Mapping[str, Any], measured: pa.Table) -> tuple[str, str | None]:
    """The verdict of a trial and, unless it held, why."""
    if trial.status in ("skipped", "interrupted", "degraded"):
        return UNKNOWN, f"{trial.status}: {_short(trial.reason)}"
    if found := _memory(trial, measured):
        return BROKE, found
    if record.get("server_ended"):
        first = next(_refused(measured), None)
        return BROKE, _first_line(trial.reason) + (f"; {_short(first)}" if first else "")
    if len(measured) and goal.limit_ms:
        return _against_limit(goal, measured)
    return (UNKNOWN, f"failed: {_short(trial.reason)}") if trial.status == "failed" else (HELD, None)


def _memory(trial: TrialSummary, measured: pa.Table) -> str | None:
    """What shows that memory ran out: the status and sentence of the first such request, or the trial's reason."""
    said = next(filter(_is_memory, _refused(measured)), None)
    if said is None and trial.status == "failed" and _is_memory(trial.reason or ""):
        said = trial.reason
    return _short(said) if said else None


def _refused(measured: pa.Table) -> Iterator[str]:
    """Status and sentence of the requests that failed, each pair once, in the order in which they came."""
    pairs = dict.fromkeys(zip(measured["status"].to_pylist(), measured["error"].to_pylist(), strict=True))
    return (f"{status}: {error}" for status, error in pairs if status != samples.OK)


def _is_memory(text: str) -> bool:
    lower = text.lower()
    return any(words in lower for words in _MEMORY)


def _against_limit(goal: Goal, measured: pa.Table) -> tuple[str, str | None]:
    times_ms, limit_ms, name = _times_ms(measured), goal.limit_ms or 0.0, goal.threshold
    n, needed = len(times_ms), samples_needed(PERCENTILES[goal.percentile or ""])
    latency_ms = _percentile_ms(goal, times_ms)
    if latency_ms is None or latency_ms >= limit_ms:
        over, failed = np.count_nonzero(times_ms >= limit_ms), np.count_nonzero(np.isinf(times_ms))
        return BROKE, f"{over} of {n} requests missed {name}" + (f", {failed} of them failed" if failed else "")
    if n < needed:
        return UNKNOWN, f"{n} requests are too few for {name}, which needs {needed}; send more, or for longer"
    return HELD, None


def found(goal: Goal, server: str, model: str, points: Iterable[Point]) -> Found:
    """What the points of one server and model come to."""
    tried = tuple(points)
    held, broke = boundary(goal, tried)
    unknown = next((p for p in tried if p.verdict == UNKNOWN), None)
    blamed = unknown or next((p for p in tried if p.value == broke and p.verdict == BROKE), None)
    goods = [p.goodput_rps for p in tried if p.value == held and p.verdict == HELD and p.goodput_rps is not None]
    return Found(
        kind=goal.kind,
        variable=goal.variable,
        threshold=goal.threshold,
        server=server,
        model=model,
        is_over=unknown is None and next_value(goal, tried) is None,
        feasible_max=held,
        first_breach=broke,
        goodput_rps=float(np.mean(goods)) if goods else None,
        reason=blamed.reason if blamed else None,
        points=tried,
    )


def _first_line(reason: str | None) -> str:
    """What happened, without the server's last lines, which stand with the trial."""
    return _short((reason or "").splitlines()[0].removesuffix("; it said last:"))


def _short(text: str | None) -> str:
    """A sentence of a server in one line; of its last lines, the beginning and the end."""
    line = " ".join((text or "").split())
    half = _LONGEST_REASON // 2
    return line if len(line) <= _LONGEST_REASON else f"{line[:half]} ... {line[-half:]}"
