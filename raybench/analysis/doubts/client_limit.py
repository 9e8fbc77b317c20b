"""Whether the client was the limit: doubts about lateness, rates, the feed and the ceiling; pure."""

from raybench.analysis import units
from raybench.analysis.doubt import Doubt
from raybench.analysis.plain_numbers import plain
from raybench.analysis.trial_summary import TrialSummary
from raybench.config import IN_MEMORY

_PACING_SHARE = 0.05  # of the service p99
_RATE_SHARE = 0.99
_FEED_SHARE = 0.05  # of the time of the lanes
_CEILING_SHARE = 0.67
_ANSWERED_SHARE = 0.9  # of what left: below it the rest still waited when the load ended


def late_client(trial: TrialSummary) -> Doubt | None:
    """Open loop: requests that left late though a lane was free are late by the client, not by the server."""
    late, service = trial.pacing_error_ms, trial.service_ms
    if late is None or late.p99 is None or service is None or not service.p99:
        return None
    if late.p99 <= _PACING_SHARE * service.p99:
        return None
    return Doubt(
        code="late_client",
        sentence=f"the client sent late: by {plain(late.p99, 2)} ms at p99, which is {late.p99 / service.p99:.0%} of "
        f"the service p99 ({_PACING_SHARE:.0%} allowed)",
        remedy="give the workers cores of their own, use fewer lanes per worker (--max-in-flight), or more hosts",
        value=late.p99 / service.p99,
        limit=_PACING_SHARE,
    )


def under_rate(trial: TrialSummary) -> Doubt | None:
    scheduled, achieved = trial.scheduled_rps, trial.achieved_rps
    if not scheduled or achieved is None or achieved >= _RATE_SHARE * scheduled:
        return None
    remedy = (
        "lower --request-rate to what the server sustains" if trial.cap_hits else "use more workers, cores or hosts"
    )
    if is_starved(trial):
        remedy = _feed_remedy(trial)
    return Doubt(
        code="under_rate",
        sentence=f"fewer requests were sent than were due: {plain(achieved, 4)} of {plain(scheduled, 4)} requests/s",
        remedy=remedy,
        value=achieved / scheduled,
        limit=_RATE_SHARE,
    )


def cap_hit(trial: TrialSummary) -> Doubt | None:
    """Open loop: requests that were due while all lanes waited for replies queued in the client."""
    if not trial.cap_hits:
        return None
    hits, attempted, most = trial.cap_hits, trial.requests.attempted, trial.load.in_flight
    due = f"{hits} of {attempted} were due while all {most} in flight waited"
    sentence = f"the server, not the client, is overloaded: {due} for a reply"
    remedy = "lower --request-rate, or raise --max-in-flight to see the server's own queue"
    if is_starved(trial):
        sentence = f"requests queued in the client: {due} for {units.items(trial.unit)} or the server"
        remedy = _feed_remedy(trial)
    return Doubt(code="cap_hit", sentence=sentence, remedy=remedy, value=hits, limit=0)


def backlog(trial: TrialSummary) -> Doubt | None:
    """Open loop: more requests came in than were answered, so response would grow with a longer load."""
    throughput, achieved = trial.throughput, trial.achieved_rps
    if trial.load.arrivals == "closed" or trial.cap_hits or not throughput or not achieved:
        return None
    answered_rps = throughput.requests_per_s / (1 - trial.requests.error_rate or 1)
    if answered_rps >= _ANSWERED_SHARE * achieved:
        return None
    return Doubt(
        code="backlog",
        sentence=f"the server answered only {plain(answered_rps, 4)} of {plain(achieved, 4)} requests/s: "
        "in a longer trial response would be higher",
        remedy="lower --request-rate, or use a longer --duration",
        value=answered_rps / achieved,
        limit=_ANSWERED_SHARE,
    )


def is_starved(trial: TrialSummary) -> bool:
    """Whether lanes waited for items so long that the server did not get the planned load."""
    return trial.feed_wait_share is not None and trial.feed_wait_share > _FEED_SHARE


def _feed_remedy(trial: TrialSummary) -> str:
    items = units.items(trial.unit)
    return f"use --feed preload if the {items} fit in memory, else more workers and cores, or smaller files"


def feed_starved(trial: TrialSummary) -> Doubt | None:
    if not is_starved(trial) or trial.feed_wait_ms is None:
        return None
    return Doubt(
        code="feed_starved",
        sentence=f"lanes waited for {units.items(trial.unit)} {trial.feed_wait_share:.0%} of their time "
        f"({_FEED_SHARE:.0%} allowed): throughput includes that wait, service does not",
        remedy=_feed_remedy(trial),
        value=trial.feed_wait_share,
        limit=_FEED_SHARE,
    )


def near_ceiling(trial: TrialSummary) -> Doubt | None:
    """The client came close to what it can send at most: the server might do more."""
    if trial.headroom is None or trial.ceiling is None or 1 / trial.headroom <= _CEILING_SHARE:
        return None
    shared = "" if trial.load.transport in IN_MEMORY else ", or --shared-memory system on the server's host"
    return Doubt(
        code="near_ceiling",
        sentence=f"the client may be the limit: {1 / trial.headroom:.0%} of the "
        f"{plain(trial.ceiling.inferences_per_s, 4)} {trial.unit}/s it gets from a model that does nothing "
        f"({_CEILING_SHARE:.0%} allowed)",
        remedy=f"use more workers or hosts{shared}",
        value=1 / trial.headroom,
        limit=_CEILING_SHARE,
    )


def no_ceiling(trial: TrialSummary) -> Doubt | None:
    """The client's ceiling could not be measured."""
    if trial.ceiling_reason is None:
        return None
    return Doubt(
        code="no_ceiling",
        sentence=f"the client's ceiling could not be measured: {trial.ceiling_reason}",
        remedy="measure on a Triton that raybench starts, or turn this off with --no-calibrate",
    )
