"""Evaluates the trials of a search: samples of one trial -> whether the load held, or why it did not; pure."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import bdtr

from raybench.analysis import units
from raybench.analysis.doubts.client_limit import is_starved
from raybench.analysis.latency import CONFIDENCE, PERCENTILES, samples_needed
from raybench.analysis.plain_numbers import plain
from raybench.analysis.search.overload import late_sentence, lateness, overload, too_few_sent
from raybench.analysis.search.strategy import BROKE, HELD, LATE, RATE, UNKNOWN, SearchPoint, least_s
from raybench.analysis.throughput import throughput_in
from raybench.analysis.trial_summary import TrialSummary, windowed
from raybench.analysis.window import begun_ns, pacing_error_ns
from raybench.clients.base import OK
from raybench.config.search_goal import OOM, Goal
from raybench.results import samples
from raybench.results.records import TrialRecord

_LOAD_FIELDS = {RATE: "offered_rps"}  # by what name a trial's load has a variable; the others have their own
_LONGEST_REASON = 300
_LEAST_LOOK_S = 2.0  # a hiccup at the start delays all requests for a moment, and they are no independent witnesses
# What TensorFlow, Triton, C++, CUDA and Python say when memory has run out; TensorFlow's oneDNN says its
# dnnl_out_of_memory by number: "Operation received an exception:Status: 1, message: could not create a primitive".
_MEMORY = (
    *("out of memory", "out-of-memory", "out_of_memory", "oom when", "ran out of memory", "shared memory pool"),
    *("bad_alloc", "memoryerror", "cannot allocate memory", "unable to allocate"),
    *("could not allocate", "failed to alloc", "alloc_failed", "memoryallocation", "exception:status: 1,"),
)
_REFUSED = "RESOURCE_EXHAUSTED"  # of memory, a queue, threads, a quota, the size of a message: the sentence says which


def point(goal: Goal, trial: TrialSummary, record: TrialRecord, rows: pa.Table) -> SearchPoint:
    """What one trial says about the goal."""
    measured, span, _ = windowed(record, rows)
    times_ms = _times_ms(measured) if goal.limit_ms else None
    verdict, reason = _evaluated(goal, trial, record, measured)
    met = throughput_in(measured, span, of=times_ms < goal.limit_ms) if times_ms is not None and goal.limit_ms else None
    is_overloaded = verdict == BROKE and bool(goal.limit_ms and _overload(trial, measured))
    return SearchPoint(
        trial=trial.id,
        value=getattr(trial.load, _LOAD_FIELDS.get(goal.variable, goal.variable)),
        round=trial.round,
        verdict=verdict,
        reason=reason,
        requests=trial.requests.attempted,
        failed=trial.requests.failed,
        latency_ms=_percentile_ms(goal, times_ms),
        inferences_per_s=trial.throughput.inferences_per_s if trial.throughput else None,
        goodput_rps=met.requests_per_s if met else None,
        capacity_rps=trial.throughput.requests_per_s if trial.throughput and is_overloaded else None,
    )


def is_decided(goal: Goal, tables: list[pa.Table]) -> bool:
    """Whether the requests so far are enough: the goal is out of reach, or a closed loop has sent enough.

    An open loop is measured to its end, since a queue that grows shows late.
    """
    if not tables or not goal.limit_ms:
        return False
    rows = samples.merge(tables)
    seconds = (pc.max(rows["done_ns"]).as_py() - pc.min(rows["sent_ns"]).as_py()) / 1e9 if len(rows) else 0.0
    if is_futile(goal, tables) and seconds >= _LEAST_LOOK_S:
        return True
    if goal.variable == RATE or not goal.is_adaptive:
        return False
    return len(rows) >= 2 * samples_needed(PERCENTILES[goal.percentile or ""]) and seconds >= least_s(goal)


def is_futile(goal: Goal, tables: list[pa.Table]) -> bool:
    """Whether the requests so far decide already that the percentile lies above the limit, with 95 % confidence.

    Only a breach may end a trial early: a queue that grows shows late. By the order statistics of latency: the limit
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
    is_ok = pc.equal(measured["status"].cast(pa.string()), OK)
    return np.where(is_ok.to_numpy(), times, np.inf)


def _percentile_ms(goal: Goal, times_ms: np.ndarray | None) -> float | None:
    """Nearest rank; None where failed requests are so many that there is none, or without requests."""
    if times_ms is None or len(times_ms) == 0:
        return None
    found = float(np.quantile(times_ms, PERCENTILES[goal.percentile or ""], method="inverted_cdf"))
    return found if np.isfinite(found) else None


def _evaluated(goal: Goal, trial: TrialSummary, record: TrialRecord, measured: pa.Table) -> tuple[str, str | None]:
    """The verdict of a trial and, unless it held, why."""
    if trial.status in ("skipped", "interrupted", "degraded"):
        return UNKNOWN, f"{trial.status}: {_short(trial.reason)}"
    if found := _memory(trial, measured):
        return BROKE, found
    if record.server_ended:
        first = next(_refused(measured), None)
        return BROKE, _first_line(trial.reason) + (f"; {_short(first)}" if first else "")
    if goal.kind == OOM and (found := _refusal(measured)):
        return UNKNOWN, f"requests were refused before they took memory: {found}"
    if is_starved(trial):
        return (
            UNKNOWN,
            f"the server did not get the load, because lanes waited for {units.items(trial.unit)}: use --feed preload",
        )
    if len(measured) and goal.limit_ms:
        return _against_limit(goal, trial, measured)
    return (UNKNOWN, f"failed: {_short(trial.reason)}") if trial.status == "failed" else (HELD, None)


def _memory(trial: TrialSummary, measured: pa.Table) -> str | None:
    """What shows that memory ran out: the status and sentence of the first such request, or the trial's reason."""
    said = next(filter(_is_memory, _refused(measured)), None)
    if said is None and trial.status == "failed" and _is_memory(trial.reason or ""):
        said = trial.reason
    return _short(said) if said else None


def _refusal(measured: pa.Table) -> str | None:
    """The first refusal for want of something that is not memory: what was refused has taken none."""
    return next((_short(said) for said in _refused(measured) if said.startswith(_REFUSED)), None)


def _refused(measured: pa.Table) -> Iterator[str]:
    """Status and sentence of the requests that failed, each pair once, in the order in which they came."""
    pairs = dict.fromkeys(zip(measured["status"].to_pylist(), measured["error"].to_pylist(), strict=True))
    return (f"{status}: {error}" for status, error in pairs if status != OK)


def _is_memory(text: str) -> bool:
    lower = text.lower()
    return any(words in lower for words in _MEMORY)


def _against_limit(goal: Goal, trial: TrialSummary, measured: pa.Table) -> tuple[str, str | None]:
    limit_ms, name, n = goal.limit_ms or 0.0, goal.threshold, len(measured)
    needed = samples_needed(PERCENTILES[goal.percentile or ""])
    missed = _missed(goal, measured)
    if found := _overload(trial, measured) or missed:
        late = lateness(trial, limit_ms) or (_late_alone(goal, trial, measured) if found == missed else None)
        return (LATE, late) if late else (BROKE, found)
    if less := too_few_sent(trial):
        return LATE, less
    if n < needed:
        return UNKNOWN, f"{name} needs {needed} requests, the trial had {n}; send more, or use a longer --duration"
    return HELD, None


def _missed(goal: Goal, measured: pa.Table) -> str | None:
    """How many requests missed the limit, where so many did that the percentile misses it."""
    times_ms, limit_ms = _times_ms(measured), goal.limit_ms or 0.0
    latency_ms = _percentile_ms(goal, times_ms)
    if latency_ms is not None and latency_ms < limit_ms:
        return None
    over, failed = np.count_nonzero(times_ms >= limit_ms), np.count_nonzero(np.isinf(times_ms))
    allowed = plain(100 * (1 - PERCENTILES[goal.percentile or ""]))
    late = f"{over} of {len(times_ms)} requests took over {plain(limit_ms)} ms"
    return f"{late} or failed ({failed} failed; {allowed}% allowed)" if failed else f"{late} ({allowed}% allowed)"


def _overload(trial: TrialSummary, measured: pa.Table) -> str | None:
    """Of an open loop, what shows that the server cannot sustain the load."""
    if samples.is_closed(measured):
        return None
    times_ms = _times_ms(measured)
    is_known = np.isfinite(times_ms)
    return overload(trial, begun_ns(measured)[is_known] / 1e9, times_ms[is_known])


def _late_alone(goal: Goal, trial: TrialSummary, measured: pa.Table) -> str | None:
    """The sentence where the limit would have been met if the client had sent in time."""
    late_ns = pacing_error_ns(measured)
    if late_ns is None or trial.pacing_error_ms is None or trial.pacing_error_ms.p99 is None:
        return None
    latency_ms = _percentile_ms(goal, _times_ms(measured) - late_ns / 1e6)
    is_kept = latency_ms is not None and latency_ms < (goal.limit_ms or 0.0)
    return late_sentence(trial.pacing_error_ms.p99) if is_kept else None


def _first_line(reason: str | None) -> str:
    """What happened, without the server's last lines, which the trial's own reason shows."""
    return _short((reason or "").splitlines()[0].removesuffix("; it said last:"))


def _short(text: str | None) -> str:
    """A sentence of a server in one line; of its last lines, the beginning and the end."""
    line = " ".join((text or "").split())
    half = _LONGEST_REASON // 2
    return line if len(line) <= _LONGEST_REASON else f"{line[:half]} ... {line[-half:]}"
