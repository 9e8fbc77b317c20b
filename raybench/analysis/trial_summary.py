"""One observed trial -> its summary: throughput, latency, costs and what it was sent; pure."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.analysis import by_node, costs, steady_state
from raybench.analysis.by_model import ModelLoad, model_loads
from raybench.analysis.client_cost import ClientCost, client_copy_ms, client_cost
from raybench.analysis.cold_start import ColdStart, cold_start
from raybench.analysis.doubt import Doubt
from raybench.analysis.gpu_energy import items_per_joule
from raybench.analysis.host_conditions import HostConditions, host_conditions
from raybench.analysis.latency import Latency, latency_of
from raybench.analysis.payload import Payload, payload_of
from raybench.analysis.throughput import (
    Requests,
    Throughput,
    below_measured,
    ceiling_of,
    count_requests,
    headroom_of,
    throughput_in,
)
from raybench.analysis.window import (
    Window,
    achieved_rps,
    begun_in,
    begun_ns,
    cap_hits,
    gate_skew_ms,
    pacing_error_ns,
    window,
    with_lane_free,
)
from raybench.config import STREAM
from raybench.config.plan import Load
from raybench.results import samples
from raybench.results.records import (
    ModelRecord,
    ServerRecord,
    StatisticsRecord,
    TensorRecord,
    TrialRecord,
    VerificationRecord,
    WorkerRecord,
)


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """One trial as summary.json has it; None is not known or not supported, never 0."""

    id: str
    cell: str
    round: int
    label: str
    started: str
    ended: str | None
    server: ServerRecord
    model: ModelRecord
    signature: str
    load: Load
    unit: str
    inputs: tuple[TensorRecord, ...]
    payload: Payload | None
    status: str
    reason: str | None
    requests: Requests
    job_s: float | None
    window_s: float | None
    gate_skew_ms: float | None
    steadiness: steady_state.Steadiness | None
    throughput: Throughput | None
    inferences_per_joule: float | None
    scheduled_rps: float | None
    achieved_rps: float | None
    cap_hits: int | None
    service_ms: Latency | None
    response_ms: Latency | None
    lag_ms: Latency | None
    by_model: tuple[ModelLoad, ...]
    pacing_error_ms: Latency | None
    feed_wait_ms: Latency | None
    feed_wait_share: float | None
    ceiling: Throughput | None
    headroom: float | None
    ceiling_reason: str | None
    memory: costs.Memory
    cpu: costs.Cpu
    client_cost: ClientCost | None
    client_copy_ms: float | None
    server_time_ms: costs.ServerTime | None
    cold_start: ColdStart | None
    server_statistics: StatisticsRecord | None
    telemetry: HostConditions | None
    placement: by_node.NodeBreakdown | None
    workers: tuple[WorkerRecord, ...]
    verification: VerificationRecord | None
    doubts: tuple[Doubt, ...] = ()

    @property
    def latency_ms(self) -> Latency | None:
        """What the table shows: response in an open loop, service in a closed one."""
        return self.response_ms or self.service_ms


def summarize_trial(record: TrialRecord, rows: pa.Table, telemetry: pa.Table) -> TrialSummary:
    """One trial's numbers, from what was observed alone."""
    ceiling, cold = ceiling_of(rows), cold_start(record, rows)
    measured, span, begun = windowed(record, rows)
    del rows  # its stamps are 320 MB for 10 million requests, which nobody else may hold
    is_ok = samples.is_ok(measured)
    inside = begun & is_ok
    throughput, ended = throughput_in(measured, span), _outcome(record, measured, inside, span)
    why_no_ceiling = below_measured(ceiling, throughput) or record.ceiling_reason
    ceiling = None if why_no_ceiling else ceiling
    waited = _feed_wait(record, measured, inside)
    conditions = host_conditions(record.telemetry, telemetry, span, pc.min(measured["sent_ns"]).as_py())
    return TrialSummary(
        id=record.id,
        cell=record.cell,
        round=record.round,
        label=record.label,
        started=record.started,
        ended=record.ended,
        server=record.server,
        model=record.model,
        signature=record.signature,
        load=record.load,
        unit=record.input.unit,
        inputs=record.input.tensors,
        payload=payload_of(record, measured),
        status=ended.status,
        reason=ended.reason,
        requests=count_requests(measured),
        job_s=_job_s(measured),
        window_s=span.seconds if span else None,
        gate_skew_ms=gate_skew_ms(measured),
        steadiness=_steadiness(measured, inside, span),
        throughput=throughput,
        inferences_per_joule=items_per_joule(
            throughput.inferences_per_s if throughput else None, conditions.gpu_energy_j if conditions else None, span
        ),
        scheduled_rps=_scheduled_rps(measured, begun, span),
        achieved_rps=achieved_rps(measured, span) if span else None,
        cap_hits=cap_hits(measured),
        service_ms=_latency(samples.service_ns(measured), inside),
        response_ms=_latency(samples.response_ns(measured), inside),
        lag_ms=_latency(samples.lag_ns(measured), inside),
        by_model=model_loads(record, measured, inside),
        pacing_error_ms=_latency(pacing_error_ns(measured), inside),
        feed_wait_ms=waited.ms,
        feed_wait_share=waited.share,
        ceiling=ceiling,
        headroom=headroom_of(ceiling, throughput),
        ceiling_reason=why_no_ceiling,
        memory=costs.memory(telemetry, beside_mib=beside_mib(record)),
        cpu=costs.cpu(telemetry, record.workers, int(measured["items"].to_numpy() @ is_ok)),
        client_cost=client_cost(record, measured),
        client_copy_ms=client_copy_ms(record.workers),
        server_time_ms=costs.server_time(
            record.server_statistics,
            samples.service_ns(measured)[is_ok],
            hands_over=_hands_over(record.server),
        ),
        cold_start=cold,
        server_statistics=record.server_statistics,
        telemetry=conditions,
        placement=by_node.node_breakdown(record, measured, span),
        workers=record.workers,
        verification=record.verification,
    )


def windowed(record: TrialRecord, rows: pa.Table) -> tuple[pa.Table, Window | None, np.ndarray]:
    """A trial's measured samples on one clock, with lane free; its window; and which of them began in it, bool [n]."""
    measured = with_lane_free(samples.on_one_clock(samples.measured(rows), clock_offsets_ns(record)))
    span = window(measured, workers=record.load.workers, lanes=record.load.in_flight)
    return measured, span, begun_in(measured, span) if span else np.zeros(len(measured), bool)


def clock_offsets_ns(record: TrialRecord) -> dict[int, int]:
    """By worker, how far its clock is ahead of the driver's."""
    return {worker.worker: worker.clock_offset_ns for worker in record.workers}


def _latency(times_ns: np.ndarray | None, inside: np.ndarray) -> Latency | None:
    return None if times_ns is None else latency_of(times_ns[inside])


def _job_s(measured: pa.Table) -> float | None:
    """First send to last reply: the demo's "Time [s]"."""
    if len(measured) == 0:
        return None
    return float(pc.max(measured["done_ns"]).as_py() - pc.min(measured["sent_ns"]).as_py()) / 1e9


class _Outcome(NamedTuple):
    status: str
    reason: str | None


def _outcome(record: TrialRecord, measured: pa.Table, inside: np.ndarray, span: Window | None) -> _Outcome:
    """What became of the trial; one that ended well may yet have been no steady state."""
    observed = _Outcome(record.status, record.reason)
    if record.status != "ok" or span is None:
        return observed
    response_ns = samples.response_ns(measured)
    why = steady_state.unsteady(
        begun_ns(measured)[inside],
        (samples.service_ns(measured) if response_ns is None else response_ns)[inside],
        seconds=span.seconds,
        share=record.load.stability_percentage / 100,
        is_open=response_ns is not None,
    )
    return _Outcome("unstable", why) if why else observed


def _steadiness(measured: pa.Table, inside: np.ndarray, span: Window | None) -> steady_state.Steadiness | None:
    if span is None:
        return None
    response_ns = samples.response_ns(measured)
    return steady_state.steadiness_of(
        begun_ns(measured)[inside],
        (samples.service_ns(measured) if response_ns is None else response_ns)[inside],
        samples.ns(measured, "done_ns"),
        span_ns=(span.start_ns, span.end_ns),
        is_open=response_ns is not None,
    )


class _FeedWait(NamedTuple):
    ms: Latency | None
    share: float | None


def _feed_wait(record: TrialRecord, measured: pa.Table, inside: np.ndarray) -> _FeedWait:
    """What lanes waited for requests that are streamed, and its share of the time from then to the reply."""
    if record.load.feed != STREAM or not inside.any():
        return _FeedWait(None, None)
    waited_ns = samples.feed_wait_ns(measured)[inside]
    busy_ns = waited_ns + samples.service_ns(measured)[inside]
    return _FeedWait(latency_of(waited_ns), float(waited_ns.sum() / busy_ns.sum()))


def _scheduled_rps(measured: pa.Table, begun: np.ndarray, span: Window | None) -> float | None:
    """How many requests a second the schedule had in the window: around the offered rate, as chance has it."""
    return np.count_nonzero(begun) / span.seconds if span and not samples.is_closed(measured) else None


def beside_mib(record: TrialRecord) -> float | None:
    """What a server's process holds that is the client's: for TensorFlow in the worker, the items to send.

    None where they are streamed: they come and go.
    """
    held_mib = [worker.payload_held_mib for worker in record.workers] if record.server.kind == "local" else []
    known = [mib for mib in held_mib if mib is not None]
    return sum(known) if len(known) == len(held_mib) else None


def _hands_over(server: ServerRecord) -> bool:
    """Whether requests go on in a pipeline of the backend when Triton thinks that they are computed."""
    depth = server.effective.pipeline_depth if server.effective else None
    return (depth or 1) > 1
