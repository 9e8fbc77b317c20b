"""The record of a trial, part by part: what is known before it, from its workers at the barrier, and at its end."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import RayError

from raybench.config import PER_MODEL, triton_model
from raybench.config.plan import Trial
from raybench.driver.ray_nodes import alive
from raybench.driver.run_context import RunContext
from raybench.driver.start_barrier import ClockOffset, clock_facts, measure_clock
from raybench.driver.worker_group import WorkerGroup, call_all
from raybench.inputs.stored_items import SkippedRows, skipped_in_all
from raybench.models.model_facts import ModelFacts, describe_model
from raybench.results.records import (
    InputRecord,
    ModelRecord,
    PlacementRecord,
    ProblemRecord,
    ProcessesRecord,
    ServerRecord,
    StartRecord,
    TelemetryRecord,
    TensorRecord,
    TrialRecord,
    WorkerRecord,
)
from raybench.servers import RunningServer, ServerFacts, facts_of
from raybench.telemetry import effective_config, triton_statistics
from raybench.telemetry.effective_config import EffectiveConfig
from raybench.telemetry.telemetry_buffer import Telemetry
from raybench.worker.task import PayloadSummary

_TIMEOUT_S = 5.0
_EFFECTIVE_TIMEOUT_S = 30.0


def now() -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")


def new_record(trial: Trial, context: RunContext, server: RunningServer | None) -> TrialRecord:
    """What is known before a trial begins; without a server, it is one that will not be measured."""
    cell = trial.cell
    is_known = cell.server.kind == "local" or cell.server.is_ours
    start = server.take_start() if server else None
    known = describe_model(context.session.models_conf, cell.model) if is_known else ModelFacts(name=cell.model)
    return TrialRecord(
        id=trial.id,
        cell=cell.id,
        round=trial.round,
        label=cell.label,
        started=now(),
        ended=None,
        status="interrupted",  # what a run that is killed leaves behind; the end of a trial replaces it
        reason=None,
        server=_server_record(server.facts if server else facts_of(cell.server)),
        model=ModelRecord(**vars(known)),
        signature=cell.signature,
        mixed=cell.models if len(cell.models) > 1 else (),
        load=cell.load,
        input=_input_record(trial, context),
        processes=ProcessesRecord(raybench=os.getpid(), server=dict(server.parts)) if server else None,
        server_start=StartRecord(**vars(start)) if start else None,
    )


def with_group(record: TrialRecord, trial: Trial, server: RunningServer, group: WorkerGroup) -> TrialRecord:
    """The record with what the workers found when they opened: the server's word of itself, and where all are."""
    description, model = group.description, record.model
    if description.model_version is not None and len(trial.cell.models) == 1:
        model = replace(model, version=description.model_version)
    return replace(
        record,
        model=model,
        server=replace(
            record.server,
            version=description.version or record.server.version,
            effective=_effective(trial, server, model, group),
        ),
        placement=PlacementRecord(nodes=len(alive()), server_node_id=group.server_node_id),
        workers=worker_records(group, {}, is_over=False)[0],
        item_hashes=item_hashes(dict(enumerate(group.payloads))),
        server_start=group.server_start or record.server_start,
    )


def worker_records(
    group: WorkerGroup, lost: Mapping[int, str], *, is_over: bool = True
) -> tuple[tuple[WorkerRecord, ...], dict[int, PayloadSummary]]:
    """A record of each worker and what it sent: by what those that are left say now, and all said at the barrier."""
    left = group.left(lost) if is_over else {}
    ends, sent = call_all(left, "usage", _TIMEOUT_S), call_all(left, "payloads", _TIMEOUT_S)
    clocks = {number: clock for number in ends if (clock := _clock(group.actors[number]))}
    payloads = {number: sent.get(number, before) for number, before in enumerate(group.payloads)}
    records = []
    for number, start in enumerate(group.usages):
        end, payload = ends.get(number), payloads[number]
        records.append(
            WorkerRecord(
                **{**vars(end or start), "cpu_s": end.cpu_s - start.cpu_s if end else None},
                node_id=group.locations[number].node_id,
                **vars(clock_facts(group.clocks[number], clocks.get(number))),
                payload_requests=payload.requests,
                payload_request_bytes=payload.request_bytes,
                payload_held_mib=payload.held_mib,
                lost=lost.get(number),
                encoded=payload.encoded,
            )
        )
    return tuple(records), payloads


def with_decoded(workers: tuple[WorkerRecord, ...], left: Mapping[int, Any]) -> tuple[WorkerRecord, ...]:
    """The records with what decoding sampled replies cost the workers that are left."""
    decoded = call_all(left, "decoded", _TIMEOUT_S)
    return tuple(replace(each, decoded=decoded.get(each.worker)) for each in workers)


def skipped_rows(payloads: Mapping[int, PayloadSummary]) -> SkippedRows | None:
    """The rows of a streamed table that workers skipped; None where there are none."""
    found = skipped_in_all([each.skipped for each in payloads.values() if each.skipped])
    return found if found and found.count else None


def item_hashes(payloads: Mapping[int, PayloadSummary]) -> dict[int, tuple[str, ...]]:
    return {number: payload.item_hashes for number, payload in payloads.items()}


def telemetry_record(found: Telemetry) -> TelemetryRecord:
    problems = tuple(ProblemRecord(**vars(problem)) for problem in found.problems)
    return TelemetryRecord(node=found.node, gpu_source=found.gpu_source, problems=problems)


def _clock(actor: Any) -> ClockOffset | None:
    try:
        return measure_clock(actor)
    except RayError:
        return None


def _server_record(facts: ServerFacts) -> ServerRecord:
    return ServerRecord(**vars(facts))


def _input_record(trial: Trial, context: RunContext) -> InputRecord:
    source = context.session.inputs.source_of(trial.cell)
    tensors = tuple(
        TensorRecord(name=name, datatype=spec.datatype, shape=spec.shape)
        for name, spec in source.signature.inputs.items()
    )
    return InputRecord(
        source=source.source,
        encoding=source.encoding,
        unit=source.unit,
        tensors=tensors,
        skipped_rows=tuple(map(str, context.session.inputs.skipped_of(trial.cell))),
    )


def _effective(trial: Trial, server: RunningServer, model: ModelRecord, group: WorkerGroup) -> EffectiveConfig | None:
    """The settings that the server reports; none for a scripted one, which computes nothing."""
    kind = trial.cell.server.kind
    if kind == "triton":
        each = [_effective_triton(url, trial, server, model) for url in trial.cell.server.replicas or (server.url,)]
        return each[0] if all(found == each[0] for found in each) else None
    if kind == "local":
        facts = ray.get(group.actors[0].tensorflow.remote(), timeout=_EFFECTIVE_TIMEOUT_S)
        return effective_config.of_local(facts, precision=model.precision, xla=model.xla)
    if kind == "tfserving":
        return effective_config.of_tfserving(
            server.facts.config,
            cpus=server.cores or os.cpu_count() or 1,
            protocol=trial.cell.load.protocol,
            precision=model.precision,
            xla=model.xla,
        )
    return None


def _effective_triton(url: str, trial: Trial, server: RunningServer, model: ModelRecord) -> EffectiveConfig | None:
    spec, name, credentials = trial.cell.server, trial.cell.models[0], server.credentials
    is_direct = spec.layout == PER_MODEL
    about = triton_statistics.read_about(url, name, trial.cell.signature, is_direct=is_direct, credentials=credentials)
    config = triton_statistics.read_config(url, triton_model(spec, name), credentials)
    return effective_config.of_triton(config, about, precision=model.precision, xla=model.xla)
