"""Builders of small records, samples and trials for the tests."""

import importlib
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from raybench.analysis import trial_summary
from raybench.analysis.doubts import measurement
from raybench.config import Benchmark, ServerSpec, plan
from raybench.config.plan import Cell
from raybench.config.search_goal import Goal
from raybench.models import saved_models
from raybench.report import Summary, summarize
from raybench.results import results_folder, samples
from raybench.servers import facts
from raybench.telemetry import telemetry_schema
from raybench.telemetry.effective_config import EffectiveConfig
from raybench.worker.load_worker import Task

BACKEND = Path(__file__).parents[2] / "triton_models" / "saved_model" / "1"
MS = 1_000_000
DEADLINE_S = 60
RAY_CLUSTER = {"dashboard_url": None, "is_ours": False, "nodes": 1, "cpus": 8, "gpus": 0}


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
        images=1,
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
    return pa.Table.from_pylist([{"time_ns": i, **row} for i, row in enumerate(rows)], schema=telemetry_schema.SCHEMA)


def worker_facts(number: int = 0, *, hashes: tuple[str, ...] = ("a", "b"), node: str = "host-1") -> dict[str, Any]:
    return {
        "worker": number,
        "node": node,
        "node_id": f"id of {node}",
        "cores": 4,
        "clock_offset_ns": 0,
        "clock_round_trip_ns": 500_000,
        "clock_drift_ns": 0,
        "clock_uncertainty_ns": 250_000,
        "payload_held_mib": 10.0,
        "pid": 100 + number,
        "nice": 0,
        "cpu_s": 0.5,
        "rss_mib": 200.0,
        "pss_mib": 150.0,
        "lost": None,
        "payload_requests": len(hashes),
        "payload_request_bytes": 3,
        "payload_image_hashes": list(hashes),
    }


def server_facts(kind: str) -> dict[str, Any]:
    """What is known of a server that runs: for triton what we started it with, for the others what they are."""
    started = {"launcher": "wheel", "url": "127.0.0.1:8001", "config": {"instances": 1, "models": "resnet50-no-opt"}}
    known = facts(ServerSpec(kind=kind)) | (started if kind == "triton" else {})
    ran = {} if kind == "fake" else {"effective": effective(kind)}
    return known | {"config": {**(known["config"] or {}), **ran} or None}


def effective(kind: str) -> dict[str, Any]:
    """What a server with one execution at a time says of itself."""
    facts = {"tensorflow": "2.21.0", "inter_op_threads": 4, "intra_op_threads": 4, "precision": "float32", "xla": False}
    return asdict(EffectiveConfig(executions_at_once=1, merges=kind == "triton", response_cache=False, **facts))


def record(label: str = "triton x1", round: int = 1, model: str = "resnet50-no-opt", **changes: Any) -> dict[str, Any]:
    """The JSON half of an observed trial that went well."""
    cell = f"{label.replace(' ', '-')}-{model}"
    plain = {
        "id": f"r{round}-{cell}",
        "cell": cell,
        "round": round,
        "label": label,
        "started": f"2026-01-01T00:00:{round:02d}.000+00:00",
        "ended": f"2026-01-01T00:00:{round:02d}.500+00:00",
        "server": server_facts(label.split()[0]),
        "model": {"name": model, "version": 1, "sha256": None, "precision": "float32", "xla": False},
        "signature": "predict_images",
        "load": {
            "workers": 1,
            "concurrency": 1,
            "in_flight": 1,
            "arrivals": "closed",
            "offered_rps": None,
            "batch_size": 1,
            "request_count": 2,
            "duration_s": None,
            "warmup_request_count": 0,
            "warmup_timeout_s": 5.0,
            "stability_percentage": 10.0,
            "timeout_s": 60.0,
            "transport": "grpc",
            "feed": "preload",
        },
        "payload_source": "photos",
        "payload_encoding": "uint8 NHWC",
        "status": "ok",
        "reason": None,
        "server_version": "2.51.0",
        "server_statistics": None,
        "telemetry": {"node": "host-1", "gpu_source": None, "problems": []},
        "placement": {"nodes": 1, "server_node_id": "id of host-1"},
        "workers": [worker_facts()],
        "verification": None,
    }
    return {**plain, **changes}


def observed(rows: pa.Table | None = None, memory: pa.Table | None = None, **changes: Any) -> results_folder.Observed:
    """A trial as it is saved; without rows it has two requests of 10 ms, one after the other."""
    table = lanes([(0, 10), (10, 20)]) if rows is None else rows
    return results_folder.Observed(
        record=record(**changes), samples=table, telemetry=no_telemetry() if memory is None else memory
    )


def trial(rows: pa.Table | None = None, memory: pa.Table | None = None, **changes: Any) -> trial_summary.TrialSummary:
    """What stats makes of `observed`."""
    seen = observed(rows, memory, **changes)
    return trial_summary.summarize_trial(seen.record, seen.samples, seen.telemetry)


def rated(label: str, round: int, images_per_s: float | None, **changes: Any) -> trial_summary.TrialSummary:
    """A trial with this throughput."""
    rate = (
        None
        if images_per_s is None
        else trial_summary.Throughput(requests_per_s=images_per_s, images_per_s=images_per_s)
    )
    return replace(trial(label=label, round=round, **changes), throughput=rate)


OPEN = {"concurrency": None, "in_flight": 64, "arrivals": "poisson", "offered_rps": 100.0}  # of a load


def trusted(**changes: Any) -> trial_summary.TrialSummary:
    """A trial about which nothing is to be doubted, where its cell has two rounds and the host four cores."""
    plain = replace(
        trial(),
        load={**record()["load"], "workers": 2},
        requests=trial_summary.Requests(attempted=100, succeeded=100, failed=0, errors={}),
        payload=trial_summary.Payload(
            source="photos", encoding="uint8 NHWC", bytes=3.0, image_bytes=3.0, images=100, distinct=100
        ),
        job_s=10.0,
        window_s=10.0,
        service_ms=trial_summary.latency(np.arange(1, 10_001) * MS),
    )
    return replace(plain, **changes)


def summary(
    *trials: results_folder.Observed,
    folder: Path = Path("results/run"),
    goal: Goal | None = None,
    threshold: tuple[str, ...] = (),
) -> Summary:
    """What a report is made of, from observed trials, on a host with four cores; of a search with its goal."""
    run = {
        "name": "run",
        "started": "2026-01-01T00:00:00+00:00",
        "ended": None,
        "command": ["raybench", "run"],
        "baseline": None,
        "threshold": list(threshold),
    }
    return summarize(results_folder.Results(folder=folder, run=run, environment={"cores": 4}, trials=trials, goal=goal))


def results(out: Path, *trials: results_folder.Observed, goal: Goal | None = None, **changes: Any) -> Path:
    """A results folder in `out` with these trials, as a run that has ended leaves it but for its summary."""
    benchmark, environment = Benchmark(out=str(out), **changes), {"ray_cluster": RAY_CLUSTER, "unreadable_images": ()}
    folder = results_folder.create(benchmark, ["raybench", "run"], facts=environment, search=goal)
    for each in trials:
        results_folder.save(folder, each)
    results_folder.finish(folder)
    return folder


def doubt_codes(summarized: trial_summary.TrialSummary, *, rounds: int = 2) -> set[str]:
    return {doubt.code for doubt in measurement.doubts(summarized, rounds=rounds)}


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
    (folder / "models.conf").write_text(text)
    return folder / "models.conf"


def entry(name: str, more: str = "", base_path: str | None = None) -> str:
    path = name if base_path is None else base_path
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'


def listed(*entries: str) -> str:
    return f"model_config_list {{ {' '.join(entries)} }}\n"
