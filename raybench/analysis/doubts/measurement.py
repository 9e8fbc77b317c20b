"""Summaries -> doubts: why a number may not be trusted, and what to do about it; pure."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from raybench.analysis.trial_summary import PERCENTILES, TrialSummary, samples_needed
from raybench.config import SHARED_MEMORY, STREAM

_UNEVEN = 1.25
_DISTINCT_SHARE = 0.5
_PACING_SHARE = 0.05  # of the service p99
_RATE_SHARE = 0.99
_FEED_SHARE = 0.05  # of the time of the lanes
_CEILING_SHARE = 0.67
_FEED_REMEDY = "use --feed preload where memory holds the images, else more workers with cores, or smaller files"


@dataclass(frozen=True)
class Doubt:
    """A reason not to trust a number; `value` is what was found, `limit` what would not have been doubted."""

    code: str
    sentence: str
    remedy: str
    value: float | None = None
    limit: float | None = None


def doubts(trial: TrialSummary, *, rounds: int) -> tuple[Doubt, ...]:
    """Every doubt about one trial; `rounds` is how often its cell was measured."""
    if trial.requests.attempted == 0:
        return ()
    found: list[Doubt | None] = [check(trial) for check in _TRIAL_CHECKS]
    return tuple(doubt for doubt in (*found, _one_round(rounds)) if doubt)


def with_doubts(trials: Iterable[TrialSummary], *, leave_out: frozenset[str] = frozenset()) -> tuple[TrialSummary, ...]:
    """The trials, each with its doubts but for the codes to leave out."""
    all_trials = tuple(trials)
    rounds = {trial.cell: sum(other.cell == trial.cell for other in all_trials) for trial in all_trials}
    found = (doubts(trial, rounds=rounds[trial.cell]) for trial in all_trials)
    kept = (tuple(doubt for doubt in each if doubt.code not in leave_out) for each in found)
    return tuple(replace(trial, doubts=each) for trial, each in zip(all_trials, kept, strict=True))


def _few_samples(trial: TrialSummary) -> Doubt | None:
    if trial.window_s is None:
        return None
    n = trial.service_ms.n if trial.service_ms else 0
    needs = {name: count for name, p in PERCENTILES.items() if (count := samples_needed(p)) > n}
    if not needs:
        return None
    names = ", ".join(f"{name.replace('_', '.')} (needs {count})" for name, count in needs.items())
    return Doubt(
        code="few_samples",
        sentence=f"{n} requests in the window are too few for {names}",
        remedy="send more requests to see them",
        value=n,
        limit=max(needs.values()),
    )


def _errors(trial: TrialSummary) -> Doubt | None:
    requests = trial.requests
    if not requests.failed:
        return None
    named = ", ".join(f"{count} {status}" for status, count in requests.errors.items())
    return Doubt(
        code="errors",
        sentence=f"{requests.failed} of {requests.attempted} requests failed ({named}); latency is of successes alone",
        remedy="read column `error` of the samples, and mend the server or lower the load",
        value=requests.error_rate,
        limit=0.0,
    )


def _uneven_workers(trial: TrialSummary) -> Doubt | None:
    """Workers that end far apart: the window is short, the last met less load. Lanes of an open loop may rest."""
    if (
        trial.load["arrivals"] != "closed"
        or not trial.job_s
        or not trial.window_s
        or trial.job_s <= _UNEVEN * trial.window_s
    ):
        return None
    return Doubt(
        code="uneven_workers",
        sentence=f"the window is {trial.window_s / trial.job_s:.0%} of the trial: few requests a lane, or unlike ends",
        remedy="use --duration, or more requests, so that the lanes end together",
        value=trial.job_s / trial.window_s,
        limit=_UNEVEN,
    )


def _few_payloads(trial: TrialSummary) -> Doubt | None:
    payload = trial.payload
    if payload is None or payload.distinct >= _DISTINCT_SHARE * payload.images:
        return None
    return Doubt(
        code="few_payloads",
        sentence=f"{payload.distinct} distinct images stood for the {payload.images} that were sent",
        remedy="use a larger image folder, fewer requests or --feed stream, if anything on the way may cache",
        value=payload.distinct / payload.images,
        limit=_DISTINCT_SHARE,
    )


def _jpeg_noise(trial: TrialSummary) -> Doubt | None:
    payload = trial.payload
    if payload is None or payload.source != "noise" or not payload.encoding.startswith("jpeg"):
        return None
    return Doubt(
        code="jpeg_noise",
        sentence="noise does not compress: its JPEG files are several times as large as those of photos",
        remedy="use --images photos, or a folder of your own",
    )


def _empty_window(trial: TrialSummary) -> Doubt | None:
    if trial.window_s is not None:
        return None
    return Doubt(
        code="no_window",
        sentence="while all lanes were active fewer requests began than there are lanes: no throughput, no percentile",
        remedy="send more requests per lane",
    )


def _workers_over_cores(trial: TrialSummary) -> Doubt | None:
    """On the node where it is worst; a worker whose images are streamed has a process beside it that reads them."""
    each, named = (2, " and as many readers of images") if trial.load["feed"] == STREAM else (1, "")
    on_node = Counter((worker["node"], worker["cores"]) for worker in trial.workers)
    over = [(workers, cores) for (_, cores), workers in on_node.items() if each * workers > cores]
    if not over:
        return None
    workers, cores = max(over, key=lambda node: node[0] / node[1])
    return Doubt(
        code="workers_over_cores",
        sentence=f"{workers} workers{named} shared {cores} cores: they wait for each other, "
        "and for a server on that host",
        remedy=f"use at most {max(1, cores // each)} workers a host with more lanes each (--concurrency), "
        "or more hosts",
        value=each * workers,
        limit=cores,
    )


def _server_beside_workers(trial: TrialSummary) -> Doubt | None:
    """On a cluster of several nodes client and server need not share cores; TensorFlow in process is both."""
    placed = trial.placement
    if placed is None or placed.nodes < 2 or trial.server["kind"] == "local" or not placed.beside_server:
        return None
    beside, workers = len(placed.beside_server), len(trial.workers)
    return Doubt(
        code="server_beside_workers",
        sentence=f"{beside} of {workers} workers ran on the server's node and took cores from it, though the Ray "
        f"cluster has {placed.nodes} nodes",
        remedy="use no more workers than the other nodes have CPUs, add nodes, or give the server one (--server-node)",
        value=beside,
        limit=0,
    )


def _niced_workers(trial: TrialSummary) -> Doubt | None:
    nice = max((worker["nice"] for worker in trial.workers), default=0)
    if nice <= 0:
        return None
    return Doubt(
        code="niced_workers",
        sentence=f"workers ran at nice {nice}: where cores are scarce they wait for every other process",
        remedy="start that Ray with RAY_worker_niceness=0, as raybench does with its own",
        value=nice,
        limit=0,
    )


def _several_models(trial: TrialSummary) -> Doubt | None:
    names = [name for name in str((trial.server["config"] or {}).get("models", "")).split(",") if name]
    if len(names) < 2:
        return None
    return Doubt(
        code="several_models",
        sentence=f"this server held {len(names)} models at once: its memory is that of all of them",
        remedy="run one model at a time (-m) to read its memory",
        value=len(names),
        limit=1,
    )


def _answers_differ(trial: TrialSummary) -> Doubt | None:
    seen = trial.verification
    if seen is None or seen["agrees"] is not False:
        return None
    worst = [
        f"{each['model']} by {each['difference']:.2g} of the largest value (tolerance {each['tolerance']:g})"
        for each in seen["models"]
        if each["difference"] > each["tolerance"] or each["nearest"] < 1
    ]
    return Doubt(
        code="answers_differ",
        sentence=f"answers differ from TensorFlow's: {'; '.join(worst) or seen['reason']}",
        remedy="compare the model, its version and its precision on both sides, or set --tolerance",
    )


def _answers_alike(trial: TrialSummary) -> Doubt | None:
    """Verification that could not have failed."""
    weak = [each["model"] for each in (trial.verification or {"models": []})["models"] if not each["has_power"]]
    if not weak:
        return None
    return Doubt(
        code="answers_alike",
        sentence=f"answers of {', '.join(weak)} to different images are too alike to tell a wrong one",
        remedy="use other images, or a model whose answers differ",
    )


def _not_verified(trial: TrialSummary) -> Doubt | None:
    seen = trial.verification
    if seen is None or seen["agrees"] is not None:
        return None
    return Doubt(
        code="not_verified",
        sentence=f"answers were not compared: {seen['reason']}",
        remedy="give --models a folder with the model, or --no-verify",
    )


def _late_client(trial: TrialSummary) -> Doubt | None:
    """Open loop: requests that left late though a lane was free are late by the client, not by the server."""
    late, service = trial.pacing_error_ms, trial.service_ms
    if late is None or late.p99 is None or service is None or not service.p99:
        return None
    if late.p99 <= _PACING_SHARE * service.p99:
        return None
    return Doubt(
        code="late_client",
        sentence=f"p99 of the client's own lateness was {late.p99:.2g} ms, that of service {service.p99:.3g} ms",
        remedy="give the workers cores of their own, or use fewer lanes a worker (--max-in-flight) or more hosts",
        value=late.p99 / service.p99,
        limit=_PACING_SHARE,
    )


def _under_rate(trial: TrialSummary) -> Doubt | None:
    scheduled, achieved = trial.scheduled_rps, trial.achieved_rps
    if not scheduled or achieved is None or achieved >= _RATE_SHARE * scheduled:
        return None
    remedy = "lower --request-rate to what the server holds" if trial.cap_hits else "use more workers, cores or hosts"
    if is_starved(trial):
        remedy = _FEED_REMEDY
    return Doubt(
        code="under_rate",
        sentence=f"{achieved:.4g} requests/s left of {scheduled:.4g} that were due",
        remedy=remedy,
        value=achieved / scheduled,
        limit=_RATE_SHARE,
    )


def _cap_hit(trial: TrialSummary) -> Doubt | None:
    """Open loop: requests that were due while all lanes waited for replies queued in the client."""
    if not trial.cap_hits:
        return None
    hits, attempted, most = trial.cap_hits, trial.requests.attempted, trial.load["in_flight"]
    due = f"{hits} of {attempted} requests were due while all {most} that may be in flight waited for"
    sentence = f"the server is overloaded: {due} it; that is not the client's fault, and response counts the wait"
    remedy = "lower --request-rate, or raise --max-in-flight if the server's own queue is to be seen"
    if is_starved(trial):
        sentence, remedy = f"{due} images or the server, and response counts the wait", _FEED_REMEDY
    return Doubt(code="cap_hit", sentence=sentence, remedy=remedy, value=hits, limit=0)


def is_starved(trial: TrialSummary) -> bool:
    """Whether lanes waited for images for so much of their time that the server did not get the load."""
    return trial.feed_wait_share is not None and trial.feed_wait_share > _FEED_SHARE


def _feed_starved(trial: TrialSummary) -> Doubt | None:
    if not is_starved(trial) or trial.feed_wait_ms is None:
        return None
    return Doubt(
        code="feed_starved",
        sentence=f"lanes waited {trial.feed_wait_share:.0%} of their time for images, {trial.feed_wait_ms.mean:.3g} ms "
        "a request: the server got less load than it seems; service is without that wait, throughput is not",
        remedy=_FEED_REMEDY,
        value=trial.feed_wait_share,
        limit=_FEED_SHARE,
    )


def _near_ceiling(trial: TrialSummary) -> Doubt | None:
    """What the client and the transport alone allow was nearly reached: the server might do more."""
    if trial.headroom is None or trial.ceiling is None or 1 / trial.headroom <= _CEILING_SHARE:
        return None
    shared = "" if trial.load["transport"] == SHARED_MEMORY else ", or --shared-memory system on the server's host"
    return Doubt(
        code="near_ceiling",
        sentence=f"{1 / trial.headroom:.0%} of the {trial.ceiling.images_per_s:.4g} images/s that the same client gets "
        "from a model that does nothing: it may be the client that was measured",
        remedy=f"use more workers or hosts{shared}",
        value=1 / trial.headroom,
        limit=_CEILING_SHARE,
    )


def _one_round(rounds: int) -> Doubt | None:
    if rounds > 1:
        return None
    return Doubt(
        code="one_round",
        sentence="one round: nothing says how far the numbers move when they are taken again",
        remedy="use --rounds 5 or more before you compare",
        value=1,
        limit=2,
    )


_TRIAL_CHECKS: tuple[Callable[[TrialSummary], Doubt | None], ...] = (
    _few_samples,
    _errors,
    _uneven_workers,
    _few_payloads,
    _jpeg_noise,
    _empty_window,
    _workers_over_cores,
    _server_beside_workers,
    _niced_workers,
    _several_models,
    _answers_differ,
    _answers_alike,
    _not_verified,
    _late_client,
    _under_rate,
    _cap_hit,
    _near_ceiling,
    _feed_starved,
)
