"""What disturbed a trial, or was not seen: conditions from telemetry, and the doubts about them."""

from dataclasses import replace
from typing import Any

import pytest
from helpers import MS, lanes, telemetry, trial, trusted
from record_builders import effective, server_facts, worker_facts

from raybench.analysis.by_node import NodeBreakdown
from raybench.analysis.doubt import Doubt
from raybench.analysis.doubts import doubts_about
from raybench.analysis.host_conditions import HostConditions, TelemetryProblem
from raybench.analysis.trial_summary import Throughput, TrialSummary
from raybench.results.records import ProblemRecord, TelemetryRecord
from raybench.telemetry.host_cpu import HostLoad

SEEN = TelemetryRecord(node="host-1", gpu_source="nvidia-smi")
CALM = HostConditions(
    node="host-1",
    gpu_source="nvidia-smi",
    gpu_utilization_pct=90.0,
    gpu_power_w=None,
    gpu_energy_j=None,
    gpu_sm_clock_mhz=None,
    sm_clock_drop=0.0,
    gpu_shared_with=(),
    swapped_mib=0.0,
    problems=(),
)
SPAN = lanes([(-1, 0), (0, 10_000), (10_000, 20_000)])  # the window: 0 to 20 s


def under(**changes: Any) -> TrialSummary:
    """A trial under calm conditions but for these."""
    ceiling = Throughput(requests_per_s=9, inferences_per_s=9)
    server = server_facts("triton", effective=effective("triton", gpu_allocator="growth"))
    return trusted(telemetry=replace(CALM, **changes), headroom=3.0, ceiling=ceiling, server=server)


def found_in(seen: TrialSummary) -> tuple[Doubt, ...]:
    """The doubts about one of two rounds."""
    return doubts_about(seen, rounds=2)


def gpu(at_ms: float, *, pct: float | None = 80.0, mhz: float = 1980.0, uuid: str = "a") -> dict[str, Any]:
    row = {"kind": "gpu", "id": uuid, "phase": "load", "time_ns": round(at_ms * MS)}
    return {**row, "gpu_utilization_pct": pct, "gpu_sm_clock_mhz": mhz}


def on_gpu(pid: str, owner: str, phase: str = "load") -> dict[str, Any]:
    return {"kind": "gpu_process", "id": pid, "phase": phase, "owner": owner, "name": f"program-{pid}"}


def seen(*rows: dict[str, Any], **facts: Any) -> HostConditions:
    found = trial(SPAN, telemetry(*rows), telemetry=replace(SEEN, **facts)).telemetry
    assert found
    return found


def test_calm_conditions_are_not_doubted() -> None:
    """A server that was seen from begin to end, alone on a busy GPU, raises no doubt."""
    assert found_in(under()) == ()


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"sm_clock_drop": 0.06}, "clocks_dropped", "fell by 6%"),
        ({"gpu_utilization_pct": 22.0}, "gpu_idle", "busy 22% of the window"),
        ({"swapped_mib": 64.0}, "swapping", "swapped 64 MiB"),
        ({"gpu_shared_with": ("python (pid 7)",)}, "gpu_shared", "same GPUs: python (pid 7)"),
        (
            {"problems": (TelemetryProblem(at_s=3.21, source="nvidia-smi", text="it ended with exit code 9"),)},
            "telemetry_incomplete",
            "nvidia-smi 3.2 s after the first request: it ended with exit code 9",
        ),
        (
            {"problems": (TelemetryProblem(at_s=-3.0, source="nvidia-smi", text="the NVIDIA driver does not answer"),)},
            "telemetry_incomplete",
            "before the first request",
        ),
    ],
)
def test_what_disturbs_is_doubted(changes: dict[str, Any], code: str, words: str) -> None:
    """Each disturbance is a doubt of its own, with what was found and what to do."""
    (doubt,) = found_in(under(**changes))
    assert doubt.code == code
    assert words in doubt.sentence
    assert doubt.remedy


@pytest.mark.parametrize(
    ("source", "allocator", "is_doubted"),
    [("nvidia-smi", None, True), ("nvidia-smi", "growth", False), (None, None, False)],
)
def test_a_gpu_that_is_not_used_is_doubted(source: str | None, allocator: str | None, *, is_doubted: bool) -> None:
    """Numbers of a CPU are not taken for those of the GPU beside it."""
    server = server_facts("triton", effective=effective("triton", gpu_allocator=allocator))
    found = found_in(replace(under(gpu_source=source), server=server))
    assert [doubt.code for doubt in found] == ["gpu_unused"] * is_doubted
    assert all("computes on the CPU" in doubt.sentence for doubt in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"sm_clock_drop": 0.04},
        {"gpu_utilization_pct": 51.0},
        {"swapped_mib": 0.5},
        {"gpu_utilization_pct": None, "sm_clock_drop": None, "gpu_shared_with": None, "swapped_mib": None},
        {
            "problems": (
                TelemetryProblem(at_s=-9.0, source="nvidia-smi", text="there is no GPU (No devices were found)"),
            )
        },
    ],
)
def test_what_is_small_or_unknown_is_not_doubted(changes: dict[str, Any]) -> None:
    """Below its limit nothing is doubted, nor is what is not known; a host may have an nvidia-smi without a GPU."""
    assert found_in(under(**changes)) == ()


def test_an_idle_gpu_is_the_clients_where_it_has_no_headroom() -> None:
    """A GPU that waits for a client that cannot send more says nothing of the server."""
    full = found_in(replace(under(gpu_utilization_pct=22.0), headroom=1.2))
    assert [doubt.code for doubt in full] == ["near_ceiling"]
    assert found_in(replace(under(gpu_utilization_pct=22.0), headroom=None)) == ()


def test_a_trial_that_sent_nothing_has_no_doubts() -> None:
    """Where no request was sent there is no number to doubt; nor are there doubts without telemetry."""
    requests = replace(trusted().requests, attempted=0, succeeded=0)
    assert found_in(replace(under(swapped_mib=64.0), requests=requests)) == ()
    assert found_in(trusted(telemetry=None)) == ()


def test_utilization_is_of_the_window_and_the_busiest_gpu() -> None:
    """Readings outside of the window do not count; of several GPUs the server may use one."""
    rows = [gpu(at, pct=60.0) for at in (1_000, 2_000)] + [gpu(at, pct=0.0, uuid="b") for at in (1_000, 2_000)]
    assert seen(gpu(-500, pct=0.0), *rows, gpu(30_000, pct=0.0)).gpu_utilization_pct == 60


def test_power_is_of_all_gpus_in_the_window() -> None:
    """The mean power of each GPU in the window, added up; null where one does not report it, or there is none."""
    watts = {"a": 250.0, "b": 50.0}
    pair = [{**gpu(at, uuid=uuid), "gpu_power_w": watts[uuid]} for at in (1_000, 2_000) for uuid in watts]
    assert seen({**gpu(-500), "gpu_power_w": 900.0}, *pair).gpu_power_w == 300
    assert seen(*pair, gpu(1_000, uuid="c")).gpu_power_w is None
    assert seen(gpu(1_000)).gpu_power_w is None
    assert seen().gpu_power_w is None


def test_the_clock_is_that_of_the_gpu_that_works() -> None:
    """The mean SM clock in the window of the busiest GPU; null where none says how busy it is, or it has no clock."""
    rows = [gpu(1_000, mhz=1900.0), gpu(2_000, mhz=1700.0), gpu(1_000, pct=1.0, mhz=300.0, uuid="b")]
    assert seen(gpu(-500, mhz=300.0), *rows).gpu_sm_clock_mhz == 1800
    assert seen(gpu(1_000, pct=None)).gpu_sm_clock_mhz is None
    assert seen({**gpu(1_000), "gpu_sm_clock_mhz": None}).gpu_sm_clock_mhz is None
    assert seen().gpu_sm_clock_mhz is None


def test_a_clock_that_falls_is_found() -> None:
    """A fall of the SM clock that lasts is a drop of what it was before; one reading that is off is none, nor is a
    clock that rises, nor one that rests while the GPU does."""
    steady = [gpu(at) for at in range(100, 6_000, 200)]
    fallen = [gpu(at, mhz=1782.0) for at in range(6_000, 12_000, 200)]
    assert seen(*steady, *fallen).sm_clock_drop == pytest.approx(0.1)
    assert seen(*steady, gpu(6_000, mhz=900.0), *(gpu(at) for at in range(6_200, 9_000, 200))).sm_clock_drop == 0
    assert seen(*(gpu(at, mhz=1000 + at / 10) for at in range(100, 9_000, 200))).sm_clock_drop == 0
    assert seen(*steady, *(gpu(at, pct=0.0, mhz=300.0) for at in range(6_000, 9_000, 200))).sm_clock_drop == 0
    assert seen(*steady[:9]).sm_clock_drop is None


SERVER = {"kind": "process", "id": "7", "phase": "load", "rss_mib": 1.0}


def test_others_on_the_gpu_are_named() -> None:
    """Processes under load that are not the server's; of unknown ones those that were there before it."""
    rows = [SERVER, gpu(1_000), on_gpu("7", "server"), on_gpu("8", "other"), on_gpu("9", "unknown")]
    rows += [on_gpu("10", "unknown"), on_gpu("10", "unknown", "baseline"), on_gpu("11", "other", "baseline")]
    assert seen(*rows).gpu_shared_with == ("program-10 (pid 10)", "program-8 (pid 8)")


def test_a_worker_with_inputs_on_the_gpu_is_no_stranger() -> None:
    """The client that copies inputs to the GPU is part of what is measured; another process is not."""
    worker = {"kind": "worker", "id": "8", "phase": "load", "rss_mib": 1.0}
    rows = [SERVER, worker, gpu(1_000), on_gpu("8", "other"), on_gpu("9", "other")]
    assert seen(*rows).gpu_shared_with == ("program-9 (pid 9)",)


@pytest.mark.parametrize("rows", [[SERVER], [gpu(1_000), on_gpu("8", "other")]])
def test_without_a_gpu_or_a_server_of_ours_nobody_knows_who_is_on_it(rows: list[dict[str, Any]]) -> None:
    """Which processes are not the server's is unknown where its own are."""
    assert seen(*rows).gpu_shared_with is None


def test_swapping_is_what_was_swapped_under_load() -> None:
    """What a host swapped before the load does not count."""
    host = [("baseline", 5.0), ("warm", 10.0), ("load", 12.0), ("load", 74.0)]
    rows = [{"kind": "host", "id": "h", "phase": phase, "swapped_mib": mib} for phase, mib in host]
    assert seen(*rows).swapped_mib == 64


def on_host(launcher: str | None = "wheel", server_node: str | None = "id of host-1", **changes: Any) -> set[str]:
    """The doubts about a trial whose host was busy with the run's own processes for 10 s on 4 cores, but for these."""
    plain = {"seconds": 10.0, "cores": 4, "busy_s": 40.0, "own_s": 40.0, "stolen_s": 0.0}
    read = HostLoad(**{**plain, "waited_s": 9.0, "busy_before": 0.01, **changes})
    record = replace(trusted().server, launcher=launcher)
    placed = NodeBreakdown(nodes=2, server_node_id=server_node, loads=())
    workers = (worker_facts(0, host_load=read), worker_facts(1))
    seen = trusted(server=record, placement=placed, workers=workers)
    return {doubt.code for doubt in found_in(seen)} & {"cpu_contended", "cpu_stolen"}


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, set()),  # clients and servers fill the host: they wait for each other, and nobody else is there
        ({"own_s": 37.0}, set()),
        ({"own_s": 35.0}, {"cpu_contended"}),
        ({"own_s": 5.0, "busy_s": 15.0, "waited_s": 0.1}, set()),  # there were cores left for all
        ({"own_s": 5.0, "busy_s": 15.0, "waited_s": None}, set()),
        ({"own_s": 30.0, "waited_s": None}, {"cpu_contended"}),
        ({"own_s": 45.0}, set()),
        ({"own_s": 5.0, "launcher": "url"}, set()),  # the server's own CPU time is not known
        ({"own_s": 5.0, "launcher": "url", "busy_before": 0.3}, {"cpu_contended"}),
        ({"own_s": 5.0, "launcher": "docker tensorflow/serving:2.19.1"}, set()),
        ({"own_s": 5.0, "launcher": "url", "busy_before": None}, set()),
        ({"own_s": 5.0, "launcher": "url", "server_node": "id of host-2"}, {"cpu_contended"}),
        ({"stolen_s": 0.9}, {"cpu_stolen"}),
        ({"stolen_s": None}, set()),
        ({"seconds": 0.0}, set()),
    ],
)
def test_strangers_on_the_cpus_are_doubted(changes: dict[str, Any], codes: set[str]) -> None:
    """Other processes that take a tenth of the CPUs while these are short are a doubt, and so is what a hypervisor
    takes; the run's own clients and servers never are."""
    assert on_host(**changes) == codes


def test_a_problem_has_the_runs_clock() -> None:
    """When a source ended is told in seconds from the first request."""
    problems = (ProblemRecord(time_ns=2_499 * MS, source="nvidia-smi", text="it ended"),)
    assert seen(problems=problems).problems == (TelemetryProblem(at_s=2.5, source="nvidia-smi", text="it ended"),)


SEEN_GPU = [gpu(1_000), {**gpu(1_000), "gpu_used_mib": 100.0}]


@pytest.mark.parametrize(
    ("kind", "precision", "xla", "rows", "is_doubted"),
    [
        ("tfserving", "mixed_float16", True, [], True),
        ("tfserving", "mixed_float16", True, SEEN_GPU, False),
        ("tfserving", "mixed_bfloat16", True, [], False),
        ("tfserving", "mixed_float16", False, [], False),
        ("tfserving", None, None, [], False),
        ("triton", "mixed_float16", True, [], False),
    ],
)
def test_float16_in_software_is_doubted(
    kind: str, precision: str | None, xla: bool | None, rows: list[dict[str, Any]], is_doubted: bool
) -> None:
    """A TensorFlow Serving without a GPU computes float16 with XLA in software: a number of it is one of that."""
    seen = trial(SPAN, telemetry(*rows))
    plain = trusted(memory=seen.memory, server=replace(seen.server, kind=kind))
    found = doubts_about(replace(plain, model=replace(plain.model, precision=precision, xla=xla)), rounds=2)
    assert ("software_float16" in {doubt.code for doubt in found}) is is_doubted
