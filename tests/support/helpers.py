"""Builders of small records, samples and trials for the tests."""

import importlib
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
from record_builders import load, record

from raybench.analysis.doubts import doubts_about
from raybench.analysis.latency import latency_of
from raybench.analysis.payload import Payload
from raybench.analysis.summary import Summary, summarize
from raybench.analysis.throughput import Requests, Throughput
from raybench.analysis.trial_summary import TrialSummary, summarize_trial
from raybench.config import Benchmark, plan
from raybench.config.plan import Cell
from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal
from raybench.inputs.photo_source import demo_signature
from raybench.models import saved_models
from raybench.results import results_folder, samples
from raybench.results.records import ModelRecord, ServerRecord
from raybench.results.results_folder import ObservedTrial, Results
from raybench.results.run_info import Environment, RayClusterInfo, RunInfo
from raybench.telemetry import telemetry_schema
from raybench.worker.load_worker import Task

BACKEND = Path(__file__).parents[2] / "triton_models" / "saved_model" / "1"
MS = 1_000_000
DEADLINE_S = 60
RAY_CLUSTER = RayClusterInfo(dashboard_url=None, is_ours=False, nodes=1, cpus=8, gpus=0)
ENVIRONMENT = Environment(
    host="host-1",
    os="Linux",
    python="3.11.0",
    cpu=None,
    cores=4,
    memory_mib=8192,
    packages={"numpy": "1.26.4", "keras": None},
    ray_cluster=RAY_CLUSTER,
)


def backend_module(name: str) -> ModuleType:
    """A module of the python backend, imported by its bare name from its own folder, as Triton does."""
    sys.path.insert(0, str(BACKEND))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BACKEND))


def sample(sent_ms: float, done_ms: float, **changes: Any) -> samples.Sample:
    """One measured closed-loop request of worker 0, lane 0; `due_ms` makes it one of an open loop."""
    due_ms = changes.pop("due_ms", None)
    sent_ns = round(sent_ms * MS)
    plain = samples.Sample(
        worker=0,
        lane=0,
        seq=0,
        phase=samples.MEASURED,
        payload=0,
        due_ns=None if due_ms is None else round(due_ms * MS),
        woke_ns=sent_ns,
        sent_ns=sent_ns,
        done_ns=round(done_ms * MS),
        items=1,
        sent_bytes=3,
        received_bytes=4,
        status=samples.OK,
        error=None,
    )
    return plain._replace(**changes)


def lanes(*spans_ms: Iterable[tuple[float, float]], **changes: Any) -> pa.Table:
    """A table with a lane of worker 0 for each argument: its requests as (sent, done) in ms."""
    return samples.table(
        [
            sample(*span, lane=lane, seq=seq, **changes)
            for lane, spans in enumerate(spans_ms)
            for seq, span in enumerate(spans)
        ]
    )


def no_telemetry() -> pa.Table:
    return telemetry_schema.SCHEMA.empty_table()


def telemetry(*rows: dict[str, Any]) -> pa.Table:
    """Readings a nanosecond apart; those that name no phase are of the load."""
    made = [{"time_ns": i, "phase": telemetry_schema.LOAD, **row} for i, row in enumerate(rows)]
    return pa.Table.from_pylist(made, schema=telemetry_schema.SCHEMA)


def observed(rows: pa.Table | None = None, memory: pa.Table | None = None, **changes: Any) -> ObservedTrial:
    """A trial as it is saved; without rows it has two requests of 10 ms, one after the other."""
    table = lanes([(0, 10), (10, 20)]) if rows is None else rows
    return ObservedTrial(
        record=record(**changes), samples=table, telemetry=no_telemetry() if memory is None else memory
    )


def not_measured(*, status: str, reason: str) -> ObservedTrial:
    """A trial of a fake server that could not be had, or did not start."""
    made = {"processes": None, "placement": None, "workers": (), "telemetry": None}
    seen = record(label="fake", server=ServerRecord(kind="fake"), status=status, reason=reason, **made)
    unknown = replace(seen, model=ModelRecord(name=seen.model.name), load=load(transport="in process"))
    return ObservedTrial(record=unknown, samples=samples.merge([]), telemetry=no_telemetry())


def trial(rows: pa.Table | None = None, memory: pa.Table | None = None, **changes: Any) -> TrialSummary:
    """What is derived from `observed`."""
    seen = observed(rows, memory, **changes)
    return summarize_trial(seen.record, seen.samples, seen.telemetry)


def rated(label: str, round: int, inferences_per_s: float | None, **changes: Any) -> TrialSummary:
    """A trial with this throughput."""
    rate = (
        None
        if inferences_per_s is None
        else Throughput(requests_per_s=inferences_per_s, inferences_per_s=inferences_per_s)
    )
    return replace(trial(label=label, round=round, **changes), throughput=rate)


OPEN = {"concurrency": None, "in_flight": 64, "arrivals": "poisson", "offered_rps": 100.0}  # of a load


def trusted(**changes: Any) -> TrialSummary:
    """A trial about which nothing is to be doubted, where its cell has two rounds and the host four cores."""
    plain = replace(
        trial(),
        load=load(workers=2),
        requests=Requests(attempted=100, succeeded=100, failed=0, errors={}),
        payload=Payload(source="photos", encoding="uint8 NHWC", bytes=3.0, item_bytes=3.0, items=100, distinct=100),
        job_s=10.0,
        window_s=10.0,
        service_ms=latency_of(np.arange(1, 10_001) * MS),
    )
    return replace(plain, **changes)


def summary(
    *trials: ObservedTrial,
    folder: Path = Path("results/run"),
    goal: Goal | None = None,
    threshold: tuple[str, ...] = (),
) -> Summary:
    """What a report is made of, from observed trials, on a host with four cores; of a search with its goal."""
    run = RunInfo(
        name="run",
        started="2026-01-01T00:00:00+00:00",
        ended=None,
        command=("raybench", "run"),
        threshold=threshold,
    )
    return summarize(Results(folder=folder, run=run, environment=ENVIRONMENT, trials=trials, goal=goal))


def results(out: Path, *trials: ObservedTrial, goal: Goal | TuningGoal | None = None, **changes: Any) -> Path:
    """A results folder in `out` with these trials, as a run that has ended leaves it but for its summary."""
    benchmark = Benchmark(out=str(out), **changes)
    folder = results_folder.create(benchmark, ["raybench", "run"], ray_cluster=RAY_CLUSTER, goal=goal)
    for each in trials:
        results_folder.save(folder, each)
    results_folder.finish(folder)
    return folder


def doubt_codes(summarized: TrialSummary, *, rounds: int = 2) -> set[str]:
    return {doubt.code for doubt in doubts_about(summarized, rounds=rounds)}


def fake_cell(script: str = "service_ms=1", **changes: Any) -> Cell:
    """The cell of one worker against the fake server that obeys a script."""
    asked = {"workers": 1, "batch_size": 2, "timeout": 5.0, **changes}
    return plan.trials(Benchmark(server=("fake",), url={"fake": script} if script else {}, **asked))[0].cell


def fake_task(
    script: str = "service_ms=1", *, requests: int | None = 6, warmup: int | None = 0, **changes: Any
) -> Task:
    return Task(
        worker=0,
        cell=fake_cell(script, **changes),
        signatures=(demo_signature(""),),
        url=script,
        models="models",
        request_count=requests,
        warmup_request_count=warmup,
    )


def wait_until(holds: Callable[[], object]) -> None:
    """Return as soon as it holds; fails when it does not for a minute."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def images(count: int) -> np.ndarray:
    """Images uint8 [count, 2, 2, 3]; image i is filled with i."""
    return np.repeat(np.arange(count, dtype=np.uint8), 12).reshape(count, 2, 2, 3)


IMAGES = ("images", 4, (-1, 224, 224, 3))  # DT_UINT8
LOGITS = ("logits", 1, (-1, 1000))  # DT_FLOAT


def saved_model(folder: Path, *signatures: tuple[str, list, list], tags: tuple[str, ...] = ("serve",)) -> Path:
    """A SavedModel folder with signatures (name, inputs, outputs); a tensor is (name, DataType, shape or None)."""
    proto = saved_models._message("SavedModel")
    graph = proto.meta_graphs.add()
    graph.meta_info_def.tags.extend(tags)
    for name, inputs, outputs in signatures:
        entry = graph.signature_def.add(key=name)
        for side, tensors in ((entry.value.inputs, inputs), (entry.value.outputs, outputs)):
            for tensor in tensors:
                _add(side, *tensor)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
    return folder


def _add(side: Any, name: str, dtype: int, shape: tuple[int, ...] | None) -> None:
    info = side.add(key=name).value
    info.dtype = dtype
    info.tensor_shape.unknown_rank = shape is None
    for size in shape or ():
        info.tensor_shape.dim.add(size=size)


def conf(folder: Path, text: str) -> Path:
    (folder / "models.conf").write_text(text, encoding="utf-8")
    return folder / "models.conf"


def entry(name: str, more: str = "", base_path: str | None = None) -> str:
    path = name if base_path is None else base_path
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'


def listed(*entries: str) -> str:
    return f"model_config_list {{ {' '.join(entries)} }}\n"
