"""One observed trial -> its summary: throughput, percentiles with their evidence, memory; pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import bdtr

from raybench.analysis import by_node, costs, steady_state
from raybench.analysis.host_conditions import Conditions, conditions
from raybench.clients.base import OK
from raybench.config import STREAM
from raybench.results import samples

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds; a percentile is None where the sample is too small for it, `bounds` are its 95 % bounds."""

    n: int
    mean: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p99_9: float | None
    max: float
    bounds: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Requests:
    attempted: int
    succeeded: int
    failed: int
    errors: Mapping[str, int]

    @property
    def error_rate(self) -> float:
        return self.failed / self.attempted if self.attempted else 0.0


@dataclass(frozen=True, kw_only=True)
class Throughput:
    requests_per_s: float
    images_per_s: float


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What was sent: `distinct` images by hash among the `images` sent; mean `bytes` of a request, and by image."""

    source: str
    encoding: str
    bytes: float
    image_bytes: float
    images: int
    distinct: int


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """One trial as summary.json has it; None is not known or not supported, never 0."""

    id: str
    cell: str
    round: int
    label: str
    started: str
    ended: str | None
    server: Mapping[str, Any]
    model: Mapping[str, Any]
    signature: str
    load: Mapping[str, Any]
    payload: Payload | None
    status: str
    reason: str | None
    requests: Requests
    job_s: float | None
    window_s: float | None
    gate_skew_ms: float | None
    throughput: Throughput | None
    scheduled_rps: float | None
    achieved_rps: float | None
    cap_hits: int | None
    service_ms: Latency | None
    response_ms: Latency | None
    lag_ms: Latency | None
    pacing_error_ms: Latency | None
    feed_wait_ms: Latency | None
    feed_wait_share: float | None
    ceiling: Throughput | None
    headroom: float | None
    memory: costs.Memory
    cpu: costs.Cpu
    server_time_ms: costs.ServerTime | None
    server_statistics: Mapping[str, Any] | None
    telemetry: Conditions | None
    placement: by_node.Placement | None
    workers: tuple[Mapping[str, Any], ...]
    verification: Mapping[str, Any] | None
    doubts: tuple[Any, ...] = ()


def summarize_trial(record: Mapping[str, Any], rows: pa.Table, telemetry: pa.Table) -> TrialSummary:
    """One trial's numbers, from what was observed alone."""
    workers = tuple(record.get("workers", ()))
    ceiling = _ceiling(rows)
    measured, window, begun = windowed(record, rows)
    del rows  # its stamps are 320 MB for 10 million requests, which nobody else may hold
    is_ok = samples.is_ok(measured)
    inside = begun & is_ok
    throughput = _throughput(measured, window)
    return TrialSummary(
        **{key: record[key] for key in ("id", "cell", "round", "label", "started", "ended", "model")},
        **{key: record[key] for key in ("signature", "load")},
        **_status(record, measured, inside, window),
        server={**record["server"], "version": record.get("server_version") or record["server"].get("version")},
        payload=_payload(record, measured, workers),
        requests=_requests(measured),
        job_s=_job_s(measured),
        window_s=window.seconds if window else None,
        gate_skew_ms=samples.gate_skew_ms(measured),
        throughput=throughput,
        scheduled_rps=_scheduled_rps(measured, begun, window),
        achieved_rps=samples.achieved_rps(measured, window) if window else None,
        cap_hits=samples.cap_hits(measured),
        service_ms=_latency(samples.service_ns(measured), inside),
        response_ms=_latency(samples.response_ns(measured), inside),
        lag_ms=_latency(samples.lag_ns(measured), inside),
        pacing_error_ms=_latency(samples.pacing_error_ns(measured), inside),
        **_feed_wait(record, measured, inside),
        ceiling=ceiling,
        headroom=_headroom(ceiling, throughput),
        memory=costs.memory(telemetry, beside_mib=beside_mib(record)),
        cpu=costs.cpu(telemetry, workers, int(measured["images"].to_numpy() @ is_ok)),
        server_time_ms=costs.server_time(
            record.get("server_statistics"),
            samples.service_ns(measured)[is_ok],
            hands_over=_hands_over(record["server"]),
        ),
        server_statistics=record.get("server_statistics"),
        telemetry=conditions(record.get("telemetry"), telemetry, window, pc.min(measured["sent_ns"]).as_py()),
        placement=by_node.placement(record, measured, window),
        workers=tuple(_without_hashes(worker) for worker in workers),
        verification=record.get("verification"),
    )


def windowed(record: Mapping[str, Any], rows: pa.Table) -> tuple[pa.Table, samples.Window | None, np.ndarray]:
    """A trial's measured samples on one clock, with lane free; its window; and which of them began in it, bool [n]."""
    measured = samples.with_lane_free(samples.on_one_clock(samples.measured(rows), clock_offsets_ns(record)))
    window = samples.window(measured, workers=record["load"]["workers"], lanes=record["load"]["in_flight"])
    return measured, window, samples.begun_in(measured, window) if window else np.zeros(len(measured), bool)


def clock_offsets_ns(record: Mapping[str, Any]) -> dict[int, int]:
    """By worker, how far its clock is ahead of the driver's."""
    return {worker["worker"]: worker["clock_offset_ns"] for worker in record.get("workers", ())}


def latency(values_ns: np.ndarray | None) -> Latency | None:
    """Mean, exact nearest-rank percentiles and maximum of times in ns, as ms; None without values."""
    if values_ns is None or len(values_ns) == 0:
        return None
    n = len(values_ns)
    ranks = {name: found for name, p in PERCENTILES.items() if (found := _ranks(p, n))}
    wanted = sorted({n - 1}.union(*ranks.values()))
    at_ms = dict(zip(wanted, (np.partition(values_ns, wanted)[wanted] / 1e6).tolist(), strict=True))
    return Latency(
        n=n,
        mean=float(values_ns.mean()) / 1e6,
        max=at_ms[n - 1],
        bounds={name: (at_ms[low], at_ms[high]) for name, (low, _, high) in ranks.items()},
        **{name: at_ms[ranks[name][1]] if name in ranks else None for name in PERCENTILES},
    )


def _latency(times_ns: np.ndarray | None, inside: np.ndarray) -> Latency | None:
    return None if times_ns is None else latency(times_ns[inside])


def samples_needed(p: float) -> int:
    """The smallest sample whose p-quantile has an upper bound: p**n must fall under half the allowed doubt."""
    return int(np.ceil(np.log((1 - CONFIDENCE) / 2) / np.log(p)))


def _requests(measured: pa.Table) -> Requests:
    counts = {each["values"]: each["counts"] for each in measured["status"].value_counts().to_pylist()}
    succeeded = counts.pop(OK, 0)
    n = len(measured)
    return Requests(attempted=n, succeeded=succeeded, failed=n - succeeded, errors=counts)


def _job_s(measured: pa.Table) -> float | None:
    """First send to last reply: the demo's "Time [s]"."""
    if len(measured) == 0:
        return None
    return float(pc.max(measured["done_ns"]).as_py() - pc.min(measured["sent_ns"]).as_py()) / 1e9


def _throughput(measured: pa.Table, window: samples.Window | None) -> Throughput | None:
    """Successes per second of the window; a request that straddles an edge counts by its share inside."""
    if window is None:
        return None
    share = np.where(samples.is_ok(measured), samples.share_in(measured, window), 0.0)
    images = float(share @ measured["images"].to_numpy())
    return Throughput(requests_per_s=float(share.sum() / window.seconds), images_per_s=images / window.seconds)


def _ceiling(rows: pa.Table) -> Throughput | None:
    """What the same client reaches against a model that does nothing; None where nothing was asked or answered."""
    empty = samples.ceiling(rows)
    found = _throughput(empty, samples.window(empty, workers=1, lanes=1))
    return found if found and found.requests_per_s else None


def _headroom(ceiling: Throughput | None, throughput: Throughput | None) -> float | None:
    if ceiling is None or throughput is None or not throughput.requests_per_s:
        return None
    return ceiling.requests_per_s / throughput.requests_per_s


def _status(
    record: Mapping[str, Any], measured: pa.Table, inside: np.ndarray, window: samples.Window | None
) -> dict[str, Any]:
    """What became of the trial; one that ended well may yet have been no steady state."""
    observed = {"status": record["status"], "reason": record["reason"]}
    if record["status"] != "ok" or window is None:
        return observed
    response_ns = samples.response_ns(measured)
    why = steady_state.unsteady(
        samples.begun_ns(measured)[inside],
        (samples.service_ns(measured) if response_ns is None else response_ns)[inside],
        seconds=window.seconds,
        share=record["load"]["stability_percentage"] / 100,
        is_open=response_ns is not None,
    )
    return {"status": "unstable", "reason": why} if why else observed


def _feed_wait(record: Mapping[str, Any], measured: pa.Table, inside: np.ndarray) -> dict[str, Any]:
    """What lanes waited for requests that are streamed, and its share of the time from then to the reply."""
    if record["load"]["feed"] != STREAM or not inside.any():
        return {"feed_wait_ms": None, "feed_wait_share": None}
    waited_ns = samples.feed_wait_ns(measured)[inside]
    busy_ns = waited_ns + samples.service_ns(measured)[inside]
    return {"feed_wait_ms": latency(waited_ns), "feed_wait_share": float(waited_ns.sum() / busy_ns.sum())}


def _scheduled_rps(measured: pa.Table, begun: np.ndarray, window: samples.Window | None) -> float | None:
    """How many requests a second the schedule had in the window: around the offered rate, as chance has it."""
    return np.count_nonzero(begun) / window.seconds if window and not samples.is_closed(measured) else None


def _payload(record: Mapping[str, Any], measured: pa.Table, workers: tuple[Mapping[str, Any], ...]) -> Payload | None:
    if not workers or len(measured) == 0:
        return None
    batch_size = int(record["load"]["batch_size"])
    hashes = {worker["worker"]: worker["payload_image_hashes"] for worker in workers}
    pairs = measured.group_by(["worker", "payload"]).aggregate([]).to_pylist()
    sent = {h for p in pairs for h in hashes[p["worker"]][p["payload"] * batch_size : (p["payload"] + 1) * batch_size]}
    sent_bytes, images = pc.sum(measured["sent_bytes"]).as_py(), pc.sum(measured["images"]).as_py()
    return Payload(
        source=record["payload_source"],
        encoding=record["payload_encoding"],
        bytes=sent_bytes / len(measured),
        image_bytes=sent_bytes / images,
        images=images,
        distinct=len(sent),
    )


def beside_mib(record: Mapping[str, Any]) -> float | None:
    """What a server's process holds that is the client's: for TensorFlow in the worker, the images to send.

    None where they are streamed: they come and go.
    """
    is_local = record["server"]["kind"] == "local"
    held_mib = [worker["payload_held_mib"] for worker in record.get("workers", ())] if is_local else []
    return None if None in held_mib else sum(held_mib)


def _ranks(p: float, n: int) -> tuple[int, int, int] | None:
    """0-based order statistics: the p-quantile between two that enclose it with 95 % confidence, if n allows both.

    Nearest rank: the smallest observed value that at least the share p does not exceed. The bounds are of
    Binomial(n, p): see Hahn & Meeker, Statistical Intervals, 5.2. Assumes independent requests.
    """

    def below(k: int) -> float:
        """P[at most k of n lie below the quantile], which grows with k."""
        return float(bdtr(float(k), n, p))

    tail = (1 - CONFIDENCE) / 2
    low, high = bisect_right(range(n), tail, key=below) - 1, bisect_left(range(n), 1 - tail, key=below)
    return (low, ceil(p * n) - 1, high) if low >= 0 and high < n else None


def effective(server: Mapping[str, Any]) -> dict[str, Any]:
    """What a server said that it really runs (telemetry.effective); nothing where it did not."""
    return (server["config"] or {}).get("effective") or {}


def _hands_over(server: Mapping[str, Any]) -> bool:
    """Whether requests go on in a pipeline of the backend when Triton thinks that they are computed."""
    return (effective(server).get("pipeline_depth") or 1) > 1


def _without_hashes(worker: Mapping[str, Any]) -> dict[str, Any]:
    plain = {"node_id": None, **worker}  # which folders from before there was one lack
    return {key: value for key, value in plain.items() if key != "payload_image_hashes"}
