"""Whether enough was sent, and of what: doubts about the sample of a trial; pure."""

from raybench.analysis import units
from raybench.analysis.doubt import Doubt
from raybench.analysis.latency import PERCENTILES, samples_needed
from raybench.analysis.plain_numbers import plain
from raybench.analysis.steady_state import LEAST_REQUESTS, WINDOW_S, WINDOWS
from raybench.analysis.trial_summary import TrialSummary

_UNEVEN = 1.25
_SILENT_REQUESTS = 3  # times what a request takes
_DISTINCT_SHARE = 0.5
_LONGEST_ERROR = 200


def few_samples(trial: TrialSummary) -> Doubt | None:
    if trial.window_s is None:
        return None
    n = trial.service_ms.n if trial.service_ms else 0
    needs = {name: count for name, p in PERCENTILES.items() if (count := samples_needed(p)) > n}
    if not needs:
        return None
    (first, count), *others = ((name.replace("_", "."), count) for name, count in needs.items())
    more = "".join(f", {name} {count}" for name, count in others)
    return Doubt(
        code="few_samples",
        sentence=f"{first} needs {count} requests{more}; the window had {n}",
        remedy="send more requests, or use a longer --duration",
        value=n,
        limit=max(needs.values()),
    )


def stalled(trial: TrialSummary) -> Doubt | None:
    """For a time nothing was answered, far beyond what a request takes."""
    found = trial.steadiness
    if found is None or not trial.window_s:
        return None
    share, limit = found.silence_s / trial.window_s, trial.load.stability_percentage / 100
    if share <= limit or found.silence_s <= _SILENT_REQUESTS * found.median_ms / 1e3:
        return None
    return Doubt(
        code="stalled",
        sentence=f"no reply came for {plain(found.silence_s, 2)} s of the {plain(trial.window_s)} s window "
        f"({limit:.0%} allowed), and a request takes {plain(found.median_ms)} ms",
        remedy="find out what blocked the server, and measure longer (--duration)",
        value=share,
        limit=limit,
    )


def unsteady(trial: TrialSummary) -> Doubt | None:
    """A window too short for the test of steadiness: its thirds show whether throughput moved."""
    found, limit = trial.steadiness, 1 + trial.load.stability_percentage / 100
    if found is None or found.thirds_apart is None or trial.window_s is None:
        return None
    if found.thirds_apart <= limit or _is_judged(trial):
        return None
    return Doubt(
        code="unsteady",
        sentence=f"throughput had not settled: the thirds of the {plain(trial.window_s)} s window differ by a factor "
        f"of {plain(found.thirds_apart)} ({plain(limit)} allowed)",
        remedy=f"measure for {WINDOWS * WINDOW_S:.0f} s or longer (--duration)",
        value=found.thirds_apart,
        limit=limit,
    )


def steadiness_unknown(trial: TrialSummary) -> Doubt | None:
    needed = WINDOWS * LEAST_REQUESTS
    n = trial.service_ms.n if trial.service_ms else 0
    if trial.window_s is None or n >= needed:
        return None
    return Doubt(
        code="steadiness_unknown",
        sentence=f"whether the load was steady is unknown: that needs {needed} requests, the window had {n}",
        remedy=f"send {needed} or more, for {WINDOWS * WINDOW_S:.0f} s or longer (--duration)",
        value=n,
        limit=needed,
    )


def _is_judged(trial: TrialSummary) -> bool:
    """Whether its status says if it was unstable."""
    return trial.window_s is not None and trial.window_s >= WINDOWS * WINDOW_S


def errors(trial: TrialSummary) -> Doubt | None:
    requests = trial.requests
    if not requests.failed:
        return None
    named = ", ".join(f"{count} {status}" for status, count in requests.errors.items())
    said = " ".join((requests.first_error or "").split())[:_LONGEST_ERROR]
    first = f"; the first: {said}" if said else ""
    return Doubt(
        code="errors",
        sentence=f"{requests.failed} of {requests.attempted} requests failed ({named}{first}); "
        "latency covers successes only",
        remedy="read the column `error` of the samples, then fix the server or lower the load",
        value=requests.error_rate,
        limit=0.0,
    )


def uneven_workers(trial: TrialSummary) -> Doubt | None:
    """Lanes that end far apart: the window is short, the last met less load. Lanes of an open loop may rest."""
    if (
        trial.load.arrivals != "closed"
        or not trial.job_s
        or not trial.window_s
        or trial.job_s <= _UNEVEN * trial.window_s
    ):
        return None
    return Doubt(
        code="uneven_workers",
        sentence=f"lanes ended far apart: all were active for {trial.window_s / trial.job_s:.0%} of the trial "
        f"({1 / _UNEVEN:.0%} needed)",
        remedy="use --duration, or more requests, so that they end together",
        value=trial.job_s / trial.window_s,
        limit=_UNEVEN,
    )


def few_payloads(trial: TrialSummary) -> Doubt | None:
    payload = trial.payload
    if payload is None or payload.distinct is None or payload.distinct >= _DISTINCT_SHARE * payload.items:
        return None
    folder = "image folder" if trial.unit == units.IMAGES else "input"
    return Doubt(
        code="few_payloads",
        sentence=f"{payload.items} {units.items(trial.unit)} sent, only {payload.distinct} different: "
        "a cache on the way would inflate the numbers",
        remedy=f"if anything on the way may cache, use a larger {folder}, fewer requests or --feed stream",
        value=payload.distinct / payload.items,
        limit=_DISTINCT_SHARE,
    )


def payloads_unknown(trial: TrialSummary) -> Doubt | None:
    if trial.payload is None or trial.payload.distinct is not None:
        return None
    return Doubt(
        code="payloads_unknown",
        sentence=f"{trial.payload.items} {units.items(trial.unit)} sent, unknown how many different: "
        "a worker did not report which it sent",
        remedy="if anything on the way may cache, run again without losing a worker",
    )


def jpeg_noise(trial: TrialSummary) -> Doubt | None:
    payload = trial.payload
    if payload is None or payload.source != "noise" or not payload.encoding.startswith("jpeg"):
        return None
    return Doubt(
        code="jpeg_noise",
        sentence="noise does not compress: its JPEG files are several times as large as those of photos",
        remedy="use --input photos, or your own folder",
    )


def empty_window(trial: TrialSummary) -> Doubt | None:
    if trial.window_s is not None and trial.throughput is not None:
        return None
    is_closed = trial.load.arrivals == "closed"
    return Doubt(
        code="no_window",
        sentence="no throughput, no percentiles: fewer requests than lanes began while all lanes were active"
        if is_closed
        else "no throughput: while requests were due, replies came for less than two service times",
        remedy="send more requests per lane" if is_closed else "send more requests, or use a longer --duration",
    )


def one_round(rounds: int) -> Doubt | None:
    if rounds > 1:
        return None
    return Doubt(
        code="one_round",
        sentence="one round cannot show how much the numbers vary when measured again",
        remedy="use --rounds 5 or more before you compare",
        value=1,
        limit=2,
    )
