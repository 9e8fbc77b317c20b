"""Trials and searches -> the rate that one replica of a server holds, or why that is not known; pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from raybench.analysis.cells import interval
from raybench.analysis.doubts.client_limit import backlog, under_rate
from raybench.analysis.latency import PERCENTILES, samples_needed
from raybench.analysis.plain_numbers import plain
from raybench.analysis.search.overload import lateness
from raybench.analysis.search.strategy import BROKE, HELD, RATE, UNKNOWN, SearchResult, threshold
from raybench.analysis.trial_summary import TrialSummary
from raybench.config import Threshold, replica_urls
from raybench.config.search_goal import LATENCY

_SEARCH_RATES = "run raybench search with --latency-threshold and --request-rate-range"
K = TypeVar("K")

_CONFIRMED = 2  # times that a rate must have held in a search that did not come to its end
_LATE = "the client did not send in time: free cores for the workers, or use more of them or more hosts"
_MORE_ROUNDS = "measure with --rounds 5"


@dataclass(frozen=True, kw_only=True)
class ReplicaRate:
    """The requests/s that one replica holds: at least `low_rps`; None is not known, and `reason` says why.

    `high_rps` is the other end: the first rate that did not hold, or in a closed loop the upper end of the interval of
    throughput. `source` says what showed it, in `trials`.
    """

    low_rps: float | None
    high_rps: float | None
    source: str
    reason: str | None = None
    trials: tuple[str, ...] = ()


def rate_of_search(found: SearchResult, trials: Iterable[TrialSummary], limit: Threshold | None) -> ReplicaRate:
    """From the highest rate that a latency search showed to hold, to the first that did not."""
    source = f"search for {found.threshold}" if found.threshold else "search for memory"
    if why := _several(trials) or _not_about_a_rate(found) or _other_limit(found, limit):
        return not_known(source, why)
    held = tuple(point.trial for point in found.points if (point.value, point.verdict) == (found.feasible_max, HELD))
    if not found.is_over and len(held) < _CONFIRMED:
        return not_known(source, f"the search ended before its answer{_because(found.reason)}")
    if found.feasible_max is None:
        return not_known(source, f"not even {found.first_breach:g} requests/s held{_because(found.reason)}")
    is_same_limit = limit is None or limit.limit == threshold(found.threshold or "")[1]
    high_rps = found.first_breach if is_same_limit else None  # what missed a tighter limit may keep this one
    source += "" if found.is_over else ", which ended before its answer"
    return ReplicaRate(low_rps=found.feasible_max, high_rps=high_rps, source=source, trials=held)


def rate_of_run(trials: list[TrialSummary], limit: Threshold | None) -> ReplicaRate:
    """From the trials of one server, model and batch size: the better bound of its open and its closed loops."""
    if why := _several(trials):
        return not_known("run", why)
    opened = [trial for trial in trials if trial.load.offered_rps]
    closed = [trial for trial in trials if not trial.load.offered_rps]
    rates = [_open(opened, limit)] if opened else []
    rates += [_closed(closed, limit)] if closed else []
    return max(rates, key=_bound)


def _open(trials: list[TrialSummary], limit: Threshold | None) -> ReplicaRate:
    """The highest offered rate that held below the first that did not; a rate holds if it does in all its rounds."""
    source = "open loop" + (f" with {limit.text}" if limit else "")
    by_rate = _grouped(trials, lambda trial: trial.load.offered_rps or 0.0)
    verdicts = {rate: [_verdict(trial, limit) for trial in of_rate] for rate, of_rate in sorted(by_rate.items())}
    broke = min((rate for rate, seen in verdicts.items() if any(v == BROKE for v, _ in seen)), default=None)
    held = [rate for rate, seen in verdicts.items() if all(v == HELD for v, _ in seen)]
    best = max((rate for rate in held if broke is None or rate < broke), default=None)
    if best is None:
        blamed, seen = next(iter(verdicts.items()))
        why = next((why for _, why in seen if why), "a lower rate did not hold")
        return not_known(source, f"at {blamed:g} requests/s {why}")
    sent_rps = fmean(trial.achieved_rps or 0.0 for trial in by_rate[best])
    return ReplicaRate(
        low_rps=min(best, sent_rps),  # a random schedule may have had less than was asked
        high_rps=broke,
        source=source,
        trials=tuple(trial.id for trial in by_rate[best]),
    )


def _verdict(trial: TrialSummary, limit: Threshold | None) -> tuple[str, str | None]:
    """Whether a trial held its offered rate and, unless it did, why."""
    if trial.status in ("skipped", "interrupted", "degraded"):
        return UNKNOWN, f"the trial is {trial.status}{_because(trial.reason)}"
    if trial.requests.failed or trial.status != "ok":
        failed = f"{trial.requests.failed} of {trial.requests.attempted} requests failed"
        return BROKE, failed if trial.requests.failed else f"the trial is {trial.status}{_because(trial.reason)}"
    if trial.cap_hits or backlog(trial):
        return BROKE, "the server did not keep up"
    if trial.achieved_rps is None or trial.scheduled_rps is None:
        return UNKNOWN, "the trial is too short for a rate"
    if under_rate(trial):
        return UNKNOWN, _LATE
    return _against_limit(trial, limit) if limit else (HELD, None)


def _against_limit(trial: TrialSummary, limit: Threshold) -> tuple[str, str | None]:
    found = getattr(trial.latency_ms, limit.metric, None)
    name = limit.metric.replace("_", ".")
    if found is None and (lower := _lower_above(trial, limit)):
        return BROKE, f"{lower} was above {plain(limit.limit)} ms already"
    if found is None:
        needed = samples_needed(PERCENTILES[limit.metric])
        return UNKNOWN, f"{name} is not known: it needs {needed} requests, so use a longer --duration"
    if found < limit.limit:
        return HELD, None
    return (UNKNOWN, _LATE) if lateness(trial, limit.limit) else (BROKE, f"{name} was {plain(found)} ms")


def _lower_above(trial: TrialSummary, limit: Threshold) -> str | None:
    """A lower percentile that lies above the limit, so that a higher one does; None where none is known to."""
    lower = [name for name, p in PERCENTILES.items() if p < PERCENTILES[limit.metric]]
    known = [(name, getattr(trial.latency_ms, name, None)) for name in lower]
    above = [name for name, value in known if value is not None and value >= limit.limit]
    return above[0].replace("_", ".") if above and not lateness(trial, limit.limit) else None


def _closed(trials: list[TrialSummary], limit: Threshold | None) -> ReplicaRate:
    """The interval of throughput over rounds, of the load whose lower end is the highest."""
    if limit:
        why = f"latency in a closed loop says nothing about {limit.text} at a rate: measure with --request-rate, or "
        return not_known("closed loop", f"{why}{_SEARCH_RATES}")
    return max(map(_throughput, _grouped(trials, lambda trial: trial.cell).values()), key=_bound)


def _throughput(rounds: list[TrialSummary]) -> ReplicaRate:
    source = f"closed loop, {rounds[0].load.in_flight} in flight"
    if bad := next((trial for trial in rounds if trial.requests.failed), None):
        return not_known(source, f"{bad.requests.failed} of {bad.requests.attempted} requests failed")
    good = [trial for trial in rounds if trial.status == "ok" and trial.throughput]
    found = interval(trial.throughput.requests_per_s for trial in good if trial.throughput)
    if found is None:
        bad = next((trial for trial in rounds if trial.status != "ok"), None)
        why = f"the trial is {bad.status}{_because(bad.reason)}" if bad else "no trial has a throughput"
        return not_known(source, why)
    if found.low is None:
        return not_known(source, f"one round has no interval: {_MORE_ROUNDS}")
    if found.low <= 0:
        return not_known(source, f"the interval over {found.rounds} rounds reaches 0: {_MORE_ROUNDS} or more")
    source, ids = f"{source}, {found.rounds} rounds", tuple(trial.id for trial in good)
    return ReplicaRate(low_rps=found.low, high_rps=found.high, source=source, trials=ids)


def _several(trials: Iterable[TrialSummary]) -> str | None:
    """Why the rate of one replica is not known where a url named several."""
    counts = (len(replica_urls(trial.server.kind, trial.server.url or "")) for trial in trials)
    count = max(counts, default=1)
    return f"its url names {count} servers: size from results of one of them" if count > 1 else None


def _not_about_a_rate(found: SearchResult) -> str | None:
    if found.kind != LATENCY:
        return f"a search for memory says nothing about a rate: {_SEARCH_RATES}"
    if found.variable != RATE:
        return f"a search over lanes (closed loop) says nothing about a rate: {_SEARCH_RATES}"
    return None


def _other_limit(found: SearchResult, limit: Threshold | None) -> str | None:
    """What held within a limit holds within a looser one of the same percentile, and says nothing about others."""
    if limit is None:
        return None
    metric, searched_ms = threshold(found.threshold or "")
    is_implied = (metric == limit.metric) and searched_ms <= limit.limit
    return None if is_implied else f"the search was for {found.threshold}, not for {limit.text}: search again"


def _grouped(trials: Iterable[TrialSummary], key: Callable[[TrialSummary], K]) -> dict[K, list[TrialSummary]]:
    groups: dict[K, list[TrialSummary]] = {}
    for trial in trials:
        groups.setdefault(key(trial), []).append(trial)
    return groups


def not_known(source: str, reason: str) -> ReplicaRate:
    """No rate, and why."""
    return ReplicaRate(low_rps=None, high_rps=None, source=source, reason=reason)


def _bound(rate: ReplicaRate) -> float:
    return rate.low_rps or 0.0


def _because(reason: str | None) -> str:
    return f": {reason.splitlines()[0]}" if reason else ""
