"""summary.json is what its schema says, and the schema says it all."""

import ast
import json
import re
from dataclasses import fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import pytest
from contract import (
    SCHEMA,
    SCHEMA_FILE,
    VALIDATOR,
    changed,
    described_fields,
    described_records,
    objects,
    records,
    types,
    violations,
)
from helpers import MS, OPEN, lanes, not_measured, observed, results, sample, telemetry
from jsonschema import Draft202012Validator
from real_parts import TritonUnderTest, raybench
from record_builders import load, model_verification, record, server_facts, statistics, worker_facts

from raybench.analysis import by_node, cells, comparisons, costs, doubts
from raybench.analysis.by_model import ModelLoad
from raybench.analysis.client_cost import ClientCost
from raybench.analysis.cold_start import ColdStart
from raybench.analysis.doubt import Doubt
from raybench.analysis.host_conditions import HostConditions, TelemetryProblem
from raybench.analysis.latency import Latency
from raybench.analysis.payload import Payload
from raybench.analysis.search import strategy
from raybench.analysis.steady_state import Steadiness
from raybench.analysis.summary import Agreement, Summary
from raybench.analysis.threshold_outcomes import ThresholdOutcome
from raybench.analysis.throughput import Requests, Throughput
from raybench.analysis.trial_summary import TrialSummary
from raybench.config import search_goal
from raybench.config.plan import Load
from raybench.config.tuning_goal import TuningGoal
from raybench.report import report, save
from raybench.results import results_folder, samples
from raybench.results.damage import DamagedFile
from raybench.results.records import (
    ConversionCost,
    CopyCost,
    InputRecord,
    ModelRecord,
    ModelVerification,
    OutputDifference,
    ProblemRecord,
    ServerRecord,
    StartRecord,
    StatisticsRecord,
    TelemetryRecord,
    TensorRecord,
    VerificationRecord,
    WorkerRecord,
)
from raybench.results.results_folder import ObservedTrial
from raybench.results.run_info import Environment, RayClusterInfo, RunInfo
from raybench.telemetry.effective_config import EffectiveConfig
from raybench.telemetry.host_cpu import HostLoad
from raybench.telemetry.server_statistics import ServerStatistics

ROOT = Path(__file__).parents[2]
NOTHING = samples.merge([])
FAILED = {"status": "UNAVAILABLE", "error": "x"}
ALL_COUNTED = statistics(success=40, executions=1, queue_ns=MS, compute_infer_ns=3 * MS, batches={2: 1})
STATISTICS = statistics(executions=1, queue_ns=MS, compute_infer_ns=3 * MS, batches={2: 1})
MEMORY = telemetry({"kind": "process", "id": "7", "rss_mib": 512.0}, {"kind": "gpu", "id": "a", "gpu_used_mib": 0.0})
ON_A_GPU = telemetry(
    *(
        {
            "kind": "gpu",
            "id": "a",
            "phase": "load",
            "time_ns": at * MS,
            "gpu_used_mib": 591.0,
            "gpu_utilization_pct": 60.0,
            "gpu_power_w": 300.0,
            "gpu_sm_clock_mhz": 1980.0,
        }
        for at in range(0, 4001, 200)
    )
)
ENDED = ProblemRecord(time_ns=10 * MS, source="nvidia-smi", text="it ended with exit code 9")
SAW = TelemetryRecord(node="host-1", gpu_source="nvidia-smi", problems=(ENDED,))
ENDED_EARLY: dict[str, Any] = {"telemetry": SAW, "status": "failed", "reason": "it ended", "workers": ()}
LOST = worker_facts(1, cpu_s=None, lost="its actor died")
READ = worker_facts(
    host_load=HostLoad(seconds=2.0, cores=4, busy_s=3.0, own_s=2.0, stolen_s=None, waited_s=0.5, busy_before=0.1),
    encoded=ConversionCost(items=2, body_bytes=3000, cpu_s=0.001),
    decoded=ConversionCost(items=2, body_bytes=80, cpu_s=0.0004),
    copied=CopyCost(requests=2, wall_s=0.003),
)
BY_TIME = load(request_count=None, duration_s=10.0)
AT_RATE = load(**OPEN)
IN_PROCESS = load(transport="in process")
STREAMED = load(feed="stream")
FED = worker_facts(payload_held_mib=None)
VERIFIED = VerificationRecord(agrees=True, models=(model_verification(),))
DIFFERS = VerificationRecord(agrees=False, models=(model_verification(difference=0.5, spread=0.0, has_power=False),))
ROWS = InputRecord(
    source="rows.parquet",
    encoding="raw",
    unit="inferences",
    tensors=(
        TensorRecord(name="x", datatype="FP32", shape=(-1, 3)),
        TensorRecord(name="y", datatype="BYTES", shape=None),
    ),
)
STARTED = StartRecord(ready_s=3.0, warm_up_s=None)
STEADY = [(i, i + 1) for i in range(4000)]

EMPTY = samples.merge([lanes(STEADY[:40]), lanes(STEADY[50:90], phase=samples.CEILING)])

CASES: dict[str, tuple[ObservedTrial, ...]] = {
    "no trial": (),
    "one round": (observed(label="local", load=IN_PROCESS), observed()),
    "skipped": (observed(), not_measured(status="skipped", reason="there is none here")),
    "failed to start": (not_measured(status="failed", reason="it ended"),),
    "interrupted": (observed(load=BY_TIME, status="interrupted", reason="from outside"),),
    "interrupted before the gate": (observed(NOTHING, status="interrupted", reason="from outside", workers=()),),
    "all requests failed": (observed(lanes([(0, 10), (10, 20)], **FAILED), status="failed", reason="no answer"),),
    "failed in no time": (observed(lanes([(0, 10)], [(11, 20)], **FAILED), status="failed", reason="no answer"),),
    "some requests failed": (observed(lanes([(0, 9), (9, 18)], [(0, 9)], status="INTERNAL", error="x")),),
    "fake": (observed(label="fake", server=server_facts("fake"), load=IN_PROCESS),),
    "a worker was lost": (observed(workers=[worker_facts(0), LOST], status="degraded", reason="lost: worker 1"),),
    "every percentile": (observed(lanes(STEADY), MEMORY),),
    "open loop": (
        observed(samples.table([sample(s, s + 10, due_ms=s - 3, seq=s) for s in (3, 13, 23)]), load=AT_RATE),
    ),
    "open loop at a steady rate": (
        observed(samples.table([sample(s, s + 2, due_ms=s, seq=s) for s in range(0, 200, 5)]), load=AT_RATE),
    ),
    "open loop that failed": (observed(NOTHING, load=AT_RATE, status="failed", reason="it ended", workers=()),),
    "streamed": (observed(samples.table([sample(s, s + 2, woke_ns=(s - 1) * MS) for s in (3, 6, 9)]), load=STREAMED),),
    "streamed to TensorFlow": (observed(lanes(STEADY[:9]), MEMORY, label="local", load=STREAMED, workers=[FED]),),
    "streamed in vain": (observed(NOTHING, load=STREAMED, status="failed", reason="it ended", workers=()),),
    "cold start": (
        observed(server_start=STARTED),
        observed(NOTHING, round=2, server_start=STARTED, status="failed", reason="x"),
    ),
    "statistics": (observed(server_statistics=STATISTICS),),
    "telemetry that ended": (observed(telemetry=SAW),),
    "on a GPU": (observed(lanes(STEADY), ON_A_GPU, telemetry=SAW), observed(NOTHING, ON_A_GPU, round=2, **ENDED_EARLY)),
    "a server out of sight": (observed(telemetry=TelemetryRecord(node=None, gpu_source=None)),),
    "calibrated": (observed(EMPTY),),
    "on a GPU of its client": (observed(load=load(transport="cuda shared memory"), workers=[READ]),),
    "calibrated in vain": (observed(samples.ceiling(EMPTY), status="failed", reason="no request was sent"),),
    "rows": (observed(input=ROWS),),
    "verified": (observed(verification=VERIFIED),),
    "answers differ": (observed(verification=DIFFERS),),
    "not verified": (observed(verification=VerificationRecord(agrees=None, reason="there is no such model")),),
    "rounds": tuple(
        observed(lanes([(i * ms, i * ms + ms) for i in range(40)]), MEMORY, label=label, round=number)
        for number, times in enumerate([(10, 5, 10), (11, 5, 9), (10, 6, 11)], 1)
        for label, ms in zip(["local", "triton x1", "triton x2"], times, strict=True)
    ),
    "rounds that failed": (observed(), observed(NOTHING, round=2, status="failed", reason="it ended", workers=())),
}
GOALS = {
    "latency": search_goal.Goal(
        kind=search_goal.LATENCY, variable="workers", steps=(1, 2), percentile="p50", limit_ms=1e4
    ),
    "until_oom": search_goal.Goal(kind=search_goal.OOM, variable="workers", steps=(1, 2)),
}
UNITS = {
    *(
        "count",
        "W",
        "requests",
        "items",
        "id",
        "bytes",
        "MiB",
        "s",
        "ms",
        "ns",
        "requests/s",
        "inferences/s",
        "ratio",
        "share",
    ),
    *("MHz", "J", "inferences/J"),
    *("nice", "percent", "items/CPU s", "bytes/item", "ms/item"),
    *("as the field", "as value", "as the sentence says", "as the threshold"),
}
SUFFIXES = {
    "items_per_cpu_s": "items/CPU s",
    "bytes_per_item": "bytes/item",
    "ms_per_item": "ms/item",
    "requests_per_s": "requests/s",
    "inferences_per_s": "inferences/s",
    "inferences_per_joule": "inferences/J",
    "_rps": "requests/s",
    "bytes": "bytes",
}
SUFFIXES |= {"_mib": "MiB", "_ms": "ms", "_ns": "ns", "_s": "s"}


def derived(out: Path, *trials: ObservedTrial, **changes: Any) -> dict[str, Any]:
    """summary.json as `raybench report` writes it."""
    return again(results(out, *trials, **changes))


def again(folder: Path) -> dict[str, Any]:
    save(folder, report(folder))
    return dict(json.loads((folder / "summary.json").read_text()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A summary in which every object of the schema occurs."""
    odd = samples.table([*(sample(i, i + 1, seq=i) for i in range(40)), sample(40, 41, seq=40, **FAILED)])
    due = samples.table([sample(i, i + 1, seq=i, due_ms=i - 1) for i in range(1, 40)])
    rest = [
        observed(
            odd,
            round=4,
            label="triton x1",
            server_statistics=ALL_COUNTED,
            telemetry=SAW,
            workers=[READ],
            server_start=STARTED,
        ),
        observed(
            due,
            round=5,
            label="triton x1",
            verification=VERIFIED,
            load=replace(AT_RATE, feed="stream"),
            mixed=("a", "b"),
        ),
    ]
    trials = [*CASES["rounds"], *rest]
    folder = results(tmp_path_factory.mktemp("whole"), *trials, goal=GOALS["latency"], threshold=("p50<1s",))
    (folder / "samples" / "r9-lost.parquet").touch()
    summary = again(folder)
    found = [{**each, "points": each["points"][:1]} for each in summary["search"][:1]]
    tuning = tuned(tmp_path_factory.mktemp("tuned"))["tuning"]
    return {
        **summary,
        "trials": summary["trials"][-3:],
        "cells": summary["cells"][:1],
        "search": found,
        "tuning": {**tuning, "tried": tuning["tried"][:1]},
    }


_AT = {
    n: {"started": f"2026-01-01T00:00:{n % 60:02}.000+00:00", "ended": "2026-01-01T00:09:00.000+00:00"}
    for n in (1, 2, *range(101, 106))
}


def tuned(out: Path) -> dict[str, Any]:
    """The summary of a tuning in which two instances serve 1.2 times what one does, and were measured again."""
    goal = TuningGoal(latency=None, most_trials=24, budget_s=60)
    trials = [
        observed(
            samples.table([sample(i * step, (i + 1) * step, seq=i) for i in range(60)]), round=n, label=label, **_AT[n]
        )
        for n in _AT
        for label, step in (("triton x1", 12 + n % 2), ("triton x2", 10 + n % 2))
    ]
    return derived(out, *trials, goal=goal, server=("triton",), instances=(1, 2), model=("resnet50-no-opt",))


def test_a_tuning_is_as_the_schema_has_it(tmp_path: Path) -> None:
    """A tuning claims its gain from the fresh rounds, says what to deploy, and keeps the contract."""
    summary = tuned(tmp_path)
    assert violations(summary) == []
    found = summary["tuning"]
    assert (found["winner"], found["to_deploy"], found["verdict"]) == ("triton x2", "triton x2", "better")
    assert found["ratio"]["rounds"] == 5
    assert 1.15 < found["ratio"]["low"] < found["ratio"]["high"] < 1.25
    assert [each["rounds"] for each in found["tried"]] == [7, 7]
    assert summary["comparisons"] == []


@pytest.mark.parametrize("case", CASES)
def test_every_summary_is_as_the_schema_has_it(case: str, tmp_path: Path) -> None:
    """Whatever became of a run, its summary.json keeps the contract that readers rely on."""
    assert violations(derived(tmp_path, *CASES[case])) == []


@pytest.mark.slow
def test_a_real_run_keeps_the_contract(
    triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """What a run writes, with real workers and rounds, is what the schema says; so is what is derived again."""
    run = raybench(
        "run", "--url", "fake=service_ms=30", "--url", f"triton={triton.url}", "-s", "triton", "-m", "mobilenet-no-opt",
        "--workers", 2, "-b", 1, "--duration", 2, "--rounds", 2, cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    summary = run.summary
    assert [trial["server"]["kind"] for trial in summary["trials"]].count("fake") == 2
    assert {cell["inferences_per_s"]["rounds"] for cell in summary["cells"]} == {2}
    assert violations(summary) == []
    assert run.folder
    save(run.folder, report(run.folder))
    assert run.summary == summary


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("case", CASES)
def test_every_search_is_as_the_schema_has_it(case: str, goal: str, tmp_path: Path) -> None:
    """Whatever became of the trials of a search, its summary.json keeps the contract, and each trial is a point."""
    summary = derived(tmp_path, *CASES[case], goal=GOALS[goal])
    assert violations(summary) == []
    points = [point["trial"] for found in summary["search"] for point in found["points"]]
    assert sorted(points) == sorted(trial["id"] for trial in summary["trials"])


def test_a_run_that_was_killed_keeps_the_contract(tmp_path: Path) -> None:
    """A trial that was being measured when its run was killed is a row without an end."""
    folder = results(tmp_path, observed())
    results_folder.write_running(folder, record(round=2))
    save(folder, report(folder))
    summary = json.loads((folder / "summary.json").read_text())
    assert [trial["status"] for trial in summary["trials"]] == ["ok", "interrupted"]
    assert [trial["ended"] is None for trial in summary["trials"]] == [False, True]
    assert violations(summary) == []


@pytest.mark.parametrize("name", ["environment.json", "trials", "samples", "telemetry", "search.json"])
def test_a_damaged_folder_keeps_the_contract(name: str, tmp_path: Path) -> None:
    """Whatever is lost of a folder, the summary of the rest keeps the contract, and says what is lost."""
    folder = results(tmp_path, *CASES["rounds"], goal=GOALS["latency"])
    path = folder / name
    for each in sorted(path.iterdir())[:2] if path.is_dir() else [path]:
        each.write_bytes(each.read_bytes()[:100])
    summary = again(folder)
    assert violations(summary) == []
    assert [each["path"].startswith(name) for each in summary["damaged"]] == [True] * (2 if path.is_dir() else 1)


def test_the_tests_below_see_every_object(whole: dict[str, Any]) -> None:
    """The summary that the tests below break holds every object that the schema describes."""
    described = {frozenset(each["properties"]) for _, each in described_records()}
    assert described == {frozenset(each) for _, each in records(whole)}
    assert violations(whole) == []


def test_every_key_is_there_always(whole: dict[str, Any]) -> None:
    """A summary without one of its keys is refused: what is not known is null, not absent."""
    for path, each in records(whole):
        for key in each:
            rest = {name: value for name, value in each.items() if name != key}
            assert not VALIDATOR.is_valid(changed(whole, *path, to=rest)), (*path, key)


def test_no_key_is_there_that_is_not_described(whole: dict[str, Any]) -> None:
    """A summary with a key that no reader could know of is refused."""
    for path, each in records(whole):
        assert not VALIDATOR.is_valid(changed(whole, *path, to={**each, "other": 1})), path


def test_every_value_has_a_type(whole: dict[str, Any]) -> None:
    """A value of another type is refused, wherever it stands."""
    for path, each in objects(whole):
        for key, value in each.items():
            other = {"a": []} if isinstance(value, list) else [[]]
            assert not VALIDATOR.is_valid(changed(whole, *path, key, to=other)), (*path, key)


ROUNDS, ODD, OPEN_LOOP = 0, 1, 2  # the trials of `whole`


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 4),
        (("run", "started"), "yesterday"),
        (("run", "started"), "2026-01-01T00:00:00+02:00"),
        (("trials", ROUNDS, "status"), "fine"),
        (("trials", ROUNDS, "status"), None),
        (("trials", ROUNDS, "ended"), None),
        (("trials", ROUNDS, "reason"), "it is ok"),
        (("trials", ROUNDS, "status"), "failed"),
        (("trials", ROUNDS, "server", "kind"), "torchserve"),
        (("trials", ROUNDS, "server", "config"), {}),
        (("trials", ROUNDS, "server", "effective", "executions_at_once"), 0),
        (("trials", ROUNDS, "server", "config", "instances"), {}),
        (("trials", ROUNDS, "load", "transport"), "pigeon"),
        (("trials", ROUNDS, "load", "request_count"), None),
        (("trials", ROUNDS, "load", "duration_s"), 3.0),
        (("trials", ROUNDS, "load", "arrivals"), "poisson"),
        (("trials", ROUNDS, "load", "offered_rps"), 5.0),
        (("trials", OPEN_LOOP, "load", "offered_rps"), None),
        (("trials", OPEN_LOOP, "load", "concurrency"), 1),
        (("trials", OPEN_LOOP, "pacing_error_ms", "mean"), None),
        (("trials", OPEN_LOOP, "cap_hits"), -1),
        (("trials", ROUNDS, "load", "feed"), "by hand"),
        (("trials", ROUNDS, "feed_wait_share"), 0.5),
        (("trials", OPEN_LOOP, "feed_wait_share"), None),
        (("trials", OPEN_LOOP, "feed_wait_share"), 1.5),
        (("trials", OPEN_LOOP, "load", "feed"), "preload"),
        (("trials", ROUNDS, "job_s"), 0),
        (("trials", ROUNDS, "job_s"), None),
        (("trials", ROUNDS, "payload"), None),
        (("trials", ROUNDS, "workers"), []),
        (("trials", ROUNDS, "window_s"), 0),
        (("trials", ROUNDS, "window_s"), None),
        (("trials", ROUNDS, "throughput"), None),
        (("trials", ROUNDS, "achieved_rps"), None),
        (("trials", ROUNDS, "inferences_per_joule"), -0.1),
        (("trials", ODD, "telemetry", "gpu_energy_j"), -0.1),
        (("trials", ROUNDS, "headroom"), 0),
        (("cells", 0, "headroom"), 0),
        (("trials", ROUNDS, "requests", "attempted"), 0),
        (("trials", ROUNDS, "requests", "failed"), None),
        (("trials", ROUNDS, "requests", "errors"), None),
        (("trials", ODD, "requests", "errors"), {"OK": 1}),
        (("trials", ODD, "requests", "errors"), {"UNAVAILABLE": 0}),
        (("trials", ROUNDS, "memory", "peak", "rss_mib"), 0),
        (("trials", ROUNDS, "memory", "warm", "rss_mib"), 0.0),
        (("trials", ROUNDS, "unit"), "apples"),
        (("trials", ROUNDS, "inputs", 0, "shape"), [-2]),
        (("trials", ROUNDS, "cpu", "items_per_cpu_s"), 0.0),
        (("trials", ROUNDS, "client_cost", "request_bytes_per_item"), 0.0),
        (("trials", ODD, "client_cost", "decode_ms_per_item"), 0.0),
        (("trials", ODD, "client_copy_ms"), 0.0),
        (("trials", ODD, "workers", 0, "copied", "wall_s"), -1.0),
        (("trials", ODD, "workers", 0, "decoded", "items"), 0),
        (("trials", ODD, "server_statistics", "counted", "batches"), {"0": 1}),
        (("trials", ODD, "server_time_ms", "overhead"), -0.1),
        (("trials", ODD, "server_time_ms", "compute_infer"), -0.1),
        (("trials", ODD, "telemetry", "problems", 0, "text"), ""),
        (("trials", ROUNDS, "service_ms", "bounds"), {"p42": [1, 2]}),
        (("trials", ROUNDS, "service_ms", "bounds"), {"p50": [1]}),
        (("trials", ROUNDS, "service_ms", "n"), 0),
        (("trials", OPEN_LOOP, "lag_ms", "mean"), None),
        (("trials", ROUNDS, "doubts", 0, "code"), "bad_feeling"),
        (("trials", ROUNDS, "doubts", 0, "remedy"), ""),
        (("cells", 0, "status"), "fine"),
        (("cells", 0, "inferences_per_s", "low"), None),
        (("cells", 0, "trials"), []),
        (("comparisons", 0, "verdict"), "better"),
        (("comparisons", 0, "verdict"), None),
        (("comparisons", 0, "high"), None),
        (("comparisons", 0, "detectable"), None),
        (("comparisons", 0, "detectable"), 0.9),
        (("comparisons", 0, "rounds"), 1),
        (("comparisons", 0, "ratio"), 0),
        (("search", 0, "kind"), "luck"),
        (("search", 0, "variable"), "weather"),
        (("search", 0, "feasible_max"), 0),
        (("search", 0, "points", 0, "verdict"), "perhaps"),
        (("damaged", 0, "reason"), ""),
    ],
)
def test_what_the_contract_forbids_is_refused(path: tuple[Any, ...], value: Any, whole: dict[str, Any]) -> None:
    """An unknown word, a null for what is known, a 0 for what is not, and what contradicts itself are refused."""
    assert not VALIDATOR.is_valid(changed(whole, *path, to=value))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Summary, None),
        (TrialSummary, "trial"),
        (ServerRecord, "server"),
        (EffectiveConfig, "effective"),
        (ModelRecord, "model"),
        (Load, "load"),
        (TensorRecord, "input"),
        (Payload, "payload"),
        (Requests, "requests"),
        (Throughput, "throughput"),
        (Latency, "latency"),
        (costs.Memory, "memory"),
        (costs.MemoryMoment, "memory_moment"),
        (costs.Cpu, "cpu"),
        (ClientCost, "client_cost"),
        (costs.ServerTime, "server_time"),
        (ColdStart, "cold_start"),
        (StatisticsRecord, "server_statistics"),
        (ServerStatistics, "counted"),
        (HostConditions, "telemetry"),
        (TelemetryProblem, "problem"),
        (by_node.NodeBreakdown, "placement"),
        (by_node.NodeLoad, "node_load"),
        (WorkerRecord, "worker"),
        (HostLoad, "host_load"),
        (ConversionCost, "conversion_cost"),
        (CopyCost, "copy_cost"),
        (Steadiness, "steadiness"),
        (VerificationRecord, "verification"),
        (ModelVerification, "verified_model"),
        (OutputDifference, "verified_output"),
        (Doubt, "doubt"),
        (cells.CellSummary, "cell"),
        (cells.Interval, "interval"),
        (comparisons.Comparison, "comparison"),
        (ThresholdOutcome, "outcome"),
        (Agreement, "agreement"),
        (strategy.SearchResult, "search"),
        (strategy.SearchPoint, "point"),
        (ModelLoad, "model_load"),
        (DamagedFile, "damaged_file"),
    ],
)
def test_the_schema_follows_the_code(kind: type, name: str | None) -> None:
    """The schema has the fields of the code, and null is allowed for those that the code may leave unknown."""
    described = (SCHEMA["$defs"][name] if name else SCHEMA)["properties"]
    hints = get_type_hints(kind)
    assert [field.name for field in fields(kind)] == list(described)
    unknown = {key for key, hint in hints.items() if hint is NoneType or NoneType in get_args(hint)}
    assert unknown == {
        key for key, value in described.items() if "null" in types(value) or None in value.get("enum", ())
    }


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (RunInfo, ("properties", "run")),
        (Environment, ("$defs", "environment")),
        (RayClusterInfo, ("$defs", "environment", "properties", "ray_cluster")),
    ],
)
def test_the_schema_follows_what_is_known_of_a_run(kind: type, path: tuple[str, ...]) -> None:
    """What is known of a run and its machine stands in the schema as it is in the code."""
    described = SCHEMA
    for name in path:
        described = described[name]
    assert [field.name for field in fields(kind)] == list(described["properties"])


def test_doubts_have_the_codes_of_the_schema() -> None:
    """The schema lists the code of every doubt that there is, and no other."""
    sources = [path.read_text() for path in Path(doubts.__file__).parent.glob("*.py")]
    calls = [node for text in sources for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    codes = [word.value for call in calls for word in call.keywords if word.arg == "code"]
    assert sorted(ast.literal_eval(code) for code in codes) == SCHEMA["$defs"]["doubt"]["properties"]["code"]["enum"]


def test_the_schema_is_one() -> None:
    """The file is a valid JSON Schema, of the version of results that this raybench writes."""
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"]["const"] == results_folder.SCHEMA_VERSION


def test_records_are_closed() -> None:
    """The schema needs every key that it describes of a record, and allows no other."""
    for path, each in described_records():
        assert each["additionalProperties"] is False, path
        assert sorted(each["required"]) == sorted(each["properties"]), path


def test_every_field_is_explained() -> None:
    """The schema is the reference of summary.json: each field has a sentence, and each number its unit in brackets."""
    for path, field in described_fields():
        text = field.get("description") or SCHEMA["$defs"][field["$ref"].rpartition("/")[2]]["description"]
        assert text.endswith("."), path
        if types(field) & {"number", "integer"}:
            (unit,) = re.findall(r" \[(.+)\]\.$", text) or [None]
            assert unit in UNITS, path
            assert unit == next((unit for end, unit in SUFFIXES.items() if path[-1].endswith(end)), unit), path


def test_the_page_links_to_the_schema() -> None:
    """docs/results.md sends who reads summary.json to its reference."""
    assert f"](../{SCHEMA_FILE.relative_to(ROOT)})" in (ROOT / "docs" / "results.md").read_text()
