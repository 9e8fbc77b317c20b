"""Builders of the parts of a trial's record: each takes the fields that are to be different."""

from dataclasses import replace
from typing import Any

from raybench.config.plan import Load
from raybench.results.records import (
    InputRecord,
    ModelRecord,
    ModelVerification,
    OutputDifference,
    PlacementRecord,
    ProcessesRecord,
    ServerRecord,
    StatisticsRecord,
    TelemetryRecord,
    TensorRecord,
    TrialRecord,
    WorkerRecord,
)
from raybench.telemetry.effective_config import EffectiveConfig
from raybench.telemetry.server_statistics import ServerStatistics


def worker_facts(number: int = 0, *, node: str = "host-1", **changes: Any) -> WorkerRecord:
    """A worker that was not lost, on a host with four cores."""
    plain = WorkerRecord(
        worker=number,
        node=node,
        node_id=f"id of {node}",
        cores=4,
        pid=100 + number,
        nice=0,
        cpu_s=0.5,
        rss_mib=200.0,
        pss_mib=150.0,
        clock_offset_ns=0,
        clock_round_trip_ns=500_000,
        clock_drift_ns=0,
        clock_uncertainty_ns=250_000,
        payload_requests=2,
        payload_request_bytes=3,
        payload_held_mib=10.0,
    )
    return replace(plain, **changes)


def server_facts(kind: str, **changes: Any) -> ServerRecord:
    """What is known of a server that runs: for triton what we started it with, for the others what they are."""
    plain = ServerRecord(kind=kind, version="2.51.0", effective=None if kind == "fake" else effective(kind))
    if kind == "triton":
        config = {"instances": 1, "models": "resnet50-no-opt"}
        plain = replace(plain, launcher="wheel", url="127.0.0.1:8001", config=config)
    return replace(plain, **changes)


def effective(kind: str, **changes: Any) -> EffectiveConfig:
    """What a server with one execution at a time says of itself."""
    plain = EffectiveConfig(
        executions_at_once=1,
        merges=kind == "triton",
        response_cache=False,
        tensorflow="2.21.0",
        inter_op_threads=4,
        intra_op_threads=4,
        precision="float32",
        xla=False,
    )
    return replace(plain, **changes)


def statistics(*, resets: int = 0, **counted: Any) -> StatisticsRecord:
    """What a server counted over a trial."""
    return StatisticsRecord(counted=ServerStatistics(**{"success": 2, "fail": 0, **counted}), resets=resets)


def load(**changes: Any) -> Load:
    """A closed loop of one worker with one lane, for two requests of one item."""
    plain = Load(
        workers=1,
        concurrency=1,
        in_flight=1,
        arrivals="closed",
        offered_rps=None,
        batch_size=1,
        request_count=2,
        duration_s=None,
        warmup_request_count=0,
        warmup_timeout_s=5.0,
        stability_percentage=10.0,
        timeout_s=60.0,
        transport="grpc",
        feed="preload",
    )
    return replace(plain, **changes)


IMAGE = TensorRecord(name="images", datatype="UINT8", shape=(-1, 224, 224, 3))
PHOTOS = InputRecord(source="photos", encoding="uint8 NHWC", unit="images", tensors=(IMAGE,))


def record(label: str = "triton x1", round: int = 1, model: str = "resnet50-no-opt", **changes: Any) -> TrialRecord:
    """The record of a trial that went well; each of its workers has two payloads of an item, with the same hashes."""
    cell = f"{label.replace(' ', '-')}-{model}"
    plain = TrialRecord(
        id=f"r{round}-{cell}",
        cell=cell,
        round=round,
        label=label,
        started=f"2026-01-01T00:00:{round:02d}.000+00:00",
        ended=f"2026-01-01T00:00:{round:02d}.500+00:00",
        status="ok",
        reason=None,
        server=server_facts(label.split()[0]),
        model=ModelRecord(name=model, version=1, precision="float32", xla=False),
        signature="predict_images",
        load=load(),
        input=PHOTOS,
        processes=ProcessesRecord(raybench=1, server={7: "tritonserver"}),
        placement=PlacementRecord(nodes=1, server_node_id="id of host-1"),
        workers=(worker_facts(),),
        telemetry=TelemetryRecord(node="host-1", gpu_source=None),
    )
    workers = tuple(changes.pop("workers", plain.workers))
    hashes = {worker.worker: ("a", "b") for worker in workers}
    return replace(plain, **{"workers": workers, "item_hashes": hashes, **changes})


def model_verification(**changes: Any) -> ModelVerification:
    """Answers of a model that agree with TensorFlow's."""
    plain = ModelVerification(
        model="resnet50-no-opt",
        replies=2,
        items=8,
        tolerance=1e-4,
        difference=0.0,
        outputs=(OutputDifference(name="scores", difference=0.0),),
        top1=1.0,
        nearest=1.0,
        spread=0.5,
        has_power=True,
    )
    return replace(plain, **changes)
