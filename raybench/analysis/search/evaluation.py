"""Evaluates the trials of a search: samples of one trial -> whether the load held, and why not; pure."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import bdtr

from raybench.analysis import units
from raybench.analysis.doubts.client_limit import is_starved
from raybench.analysis.latency import CONFIDENCE, PERCENTILES, samples_needed
from raybench.analysis.search.strategy import BROKE, HELD, RATE, UNKNOWN, SearchPoint
from raybench.analysis.trial_summary import TrialSummary
from raybench.clients.base import OK
from raybench.config.search_goal import OOM, Goal
from raybench.results import samples
from raybench.results.records import TrialRecord

_LOAD_FIELDS = {RATE: "offered_rps"}  # by what name a trial's load has a variable; the others have their own
_LONGEST_REASON = 300
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
    measured = samples.measured(rows)
    times_ms = _times_ms(measured) if goal.limit_ms else None
    verdict, reason = _evaluated(goal, trial, record, measured)
    met = int(np.count_nonzero(times_ms < goal.limit_ms)) if times_ms is not None and len(times_ms) else None
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
        goodput_rps=met / trial.job_s if met is not None and trial.job_s else None,
    )


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
        return UNKNOWN, f"the load did not reach memory: {found}"
    if is_starved(trial):
        return (
            UNKNOWN,
            f"lanes waited for {units.items(trial.unit)}, so that the server did not get the load: use --feed preload",
        )
    if len(measured) and goal.limit_ms:
        return _against_limit(goal, measured)
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


def _first_line(reason: str | None) -> str:
    """What happened, without the server's last lines, which stand with the trial."""
    return _short((reason or "").splitlines()[0].removesuffix("; it said last:"))


def _short(text: str | None) -> str:
    """A sentence of a server in one line; of its last lines, the beginning and the end."""
    line = " ".join((text or "").split())
    half = _LONGEST_REASON // 2
    return line if len(line) <= _LONGEST_REASON else f"{line[:half]} ... {line[-half:]}"
