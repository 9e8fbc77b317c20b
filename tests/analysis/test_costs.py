"""What a server cost, from telemetry and its own statistics: the ledger, CPU, and where a request's time went."""

from typing import Any

import pytest
from helpers import MS, lanes, sample, telemetry, trial
from record_builders import effective, server_facts, statistics, worker_facts

from raybench.analysis.costs import MemoryMoment
from raybench.analysis.doubts import doubts_about
from raybench.results import samples
from raybench.results.records import StatisticsRecord

PHASES = ("baseline", "idle", "warm", "load", "drained")
NOTHING = MemoryMoment(rss_mib=None, pss_mib=None, host_mib=None, gpu_mib=None, gpu_server_mib=None)


def process(phase: str, rss_mib: float | None, cpu_s: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"kind": "process", "id": "7", "phase": phase, "rss_mib": rss_mib, "cpu_s": cpu_s, **more}


def gpu(phase: str, uuid: str, used_mib: float | None) -> dict[str, Any]:
    return {"kind": "gpu", "id": uuid, "phase": phase, "gpu_used_mib": used_mib}


def on_gpu(pid: str, used_mib: float, owner: str) -> dict[str, Any]:
    return {"kind": "gpu_process", "id": pid, "phase": "load", "gpu_used_mib": used_mib, "owner": owner}


def test_the_ledger_has_the_last_of_each_phase_and_the_load() -> None:
    """Loaded, warm and drained are the last readings of their phases; mean and peak are of the load alone."""
    rows = [process("idle", 90.0), process("idle", 100.0), process("warm", 300.0), process("warm", 150.0)]
    rows += [process("load", 160.0), process("load", 200.0), process("drained", 170.0)]
    rows += [{"kind": "host", "id": "h", "phase": phase, "host_used_mib": 1000.0} for phase in PHASES]
    found = trial(None, telemetry(*rows)).memory
    assert (found.baseline.rss_mib, found.idle.rss_mib, found.peak_mib, found.gpu_peak_mib) == (None, 100, 200, None)
    before = (found.baseline, found.idle, found.warm)
    assert [held.rss_mib for held in before] == [None, 100, 150]
    assert [held.rss_mib for held in (found.mean, found.peak, found.drained)] == [180, 200, 170]
    assert found.baseline.host_mib == 1000


def test_gpus_are_added_up() -> None:
    """Each GPU's peak counts; of the processes on them the server's alone are its own."""
    rows = [gpu("load", uuid, mib) for uuid, mib in [("a", 5.0), ("a", 9.0), ("b", 4.0), ("b", None)]]
    rows += [gpu("baseline", "a", 1.0), gpu("baseline", "b", 2.0)]
    rows += [on_gpu("7", 3.0, "server"), on_gpu("8", 4.0, "server"), on_gpu("9", 100.0, "other")]
    found = trial(None, telemetry(*rows)).memory
    assert (found.gpu_peak_mib, found.mean.gpu_mib, found.baseline.gpu_mib) == (13, 11, 3)
    assert (found.peak.gpu_server_mib, found.baseline.gpu_server_mib) == (7, None)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [gpu("load", "a", None)],
        [gpu("load", "a", 5.0), gpu("load", "b", None)],
        [process("load", None)],
        [on_gpu("9", 100.0, "other")],
    ],
)
def test_memory_that_is_not_known_is_null(rows: list[dict[str, Any]]) -> None:
    """Without a process or a GPU that says its memory, memory is null, not 0; nor is it that of the other GPUs."""
    found = trial(None, telemetry(*rows)).memory
    assert (found.idle.rss_mib, found.peak_mib, found.gpu_peak_mib) == (None, None, None)
    assert found.peak == NOTHING


def test_the_images_to_send_are_not_the_servers_memory() -> None:
    """TensorFlow in the worker is charged without the images that the worker holds; a server of its own in full."""
    rows = [process(phase, 512.0, pss_mib=500.0) for phase in PHASES]
    local, server = (trial(None, telemetry(*rows), label=label).memory for label in ("local", "triton x1"))
    assert (local.baseline.rss_mib, local.idle.rss_mib, local.peak_mib) == (512, 512, 502)
    assert (local.drained.rss_mib, local.drained.pss_mib) == (502, 490)
    assert (server.idle.rss_mib, server.peak_mib) == (512, 512)


def test_rows_without_a_phase_are_of_the_load() -> None:
    """A reading that nobody gave a phase counts for the load."""
    assert trial(None, telemetry({"kind": "process", "id": "7", "rss_mib": 512.0})).memory.peak_mib == 512


def test_cpu_seconds_are_those_under_load() -> None:
    """CPU seconds from the gate to the last reply, and the images answered per second of the server's."""
    rows = [process("idle", 1.0, 5.0), process("warm", 1.0, 7.0), process("load", 1.0, 8.0), process("load", 1.0, 9.0)]
    answered = lanes([(0, 10), (10, 20)], items=8)
    failed = lanes([(20, 30)], items=8, status="INTERNAL", error="x")
    found = trial(samples.merge([answered, failed]), telemetry(*rows), workers=[worker_facts(0), worker_facts(1)]).cpu
    assert (found.server_s, found.workers_s, found.items_per_cpu_s) == (2.0, 1.0, 8.0)


@pytest.mark.parametrize("cpu_s", [(7.0, 7.19), (7.0, 6.0)])
def test_too_little_cpu_time_is_no_rate(cpu_s: tuple[float, float]) -> None:
    """The kernel counts in steps of 10 ms: there is no rate below 0.2 s, nor where a part ended with its time."""
    found = trial(None, telemetry(process("warm", 1.0, cpu_s[0]), process("load", 1.0, cpu_s[1]))).cpu
    assert found.items_per_cpu_s is None


def test_cpu_time_of_a_lost_worker_is_not_known() -> None:
    """Where one worker's CPU time is unknown, so is their sum."""
    assert trial(workers=[worker_facts(0), worker_facts(1, cpu_s=None)]).cpu.workers_s is None


COUNTED = {"success": 2, "queue_ns": 4 * MS, "compute_input_ns": 2 * MS, "compute_infer_ns": 10 * MS}


def test_the_time_of_a_request_is_told_apart() -> None:
    """The client's mean service time is what the server says of queue and compute, and the rest."""
    counted = statistics(**COUNTED, compute_output_ns=0)
    found = trial(lanes([(0, 10), (10, 22)]), server_statistics=counted).server_time_ms
    assert found
    assert (found.service, found.overhead, found.queue) == (11.0, 3.0, 2.0)
    assert (found.compute_input, found.compute_infer, found.compute_output) == (1.0, 5.0, 0.0)


def test_parts_that_a_server_does_not_tell_are_null() -> None:
    """TensorFlow Serving without batching has no queue, and one time for all of its computing."""
    only = {"success": 2, "queue_ns": None, "compute_input_ns": None, "compute_infer_ns": 10 * MS}
    found = trial(lanes([(0, 10), (10, 22)]), server_statistics=statistics(**only)).server_time_ms
    assert found
    assert (found.overhead, found.queue, found.compute_input, found.compute_infer) == (6.0, None, None, 5.0)


@pytest.mark.parametrize(("depth", "overhead", "computing"), [(3, None, None), (1, 2.0, 5.0), (None, 2.0, 5.0)])
def test_what_a_pipeline_computes_is_not_overhead(
    depth: int | None, overhead: float | None, computing: float | None
) -> None:
    """Triton's compute ends where requests are handed over: what it says then, and the rest, are no times of theirs."""
    server = server_facts("triton", effective=effective("triton", pipeline_depth=depth))
    found = trial(
        lanes([(0, 10), (10, 22)]),
        server=server,
        server_statistics=statistics(**COUNTED, compute_output_ns=2 * MS),
    ).server_time_ms
    assert found
    assert (found.service, found.queue, found.compute_input) == (11.0, 2.0, 1.0)
    assert (found.overhead, found.compute_infer) == (overhead, computing)


@pytest.mark.parametrize("counted", [None, statistics(success=0)])
def test_without_statistics_no_time_is_broken_down(counted: StatisticsRecord | None) -> None:
    """Where the server counted nothing, nothing is known of where the time went."""
    assert trial(server_statistics=counted).server_time_ms is None


@pytest.mark.parametrize(("step_ns", "is_told"), [(MS // 4, True), (MS // 2, False)])
def test_times_that_are_told_too_coarsely_are_none(step_ns: int, is_told: bool) -> None:
    """A server that rounds its sums to more than 2 % of the requests' time says nothing of where that went."""
    found = trial(lanes([(0, 10), (10, 22)]), server_statistics=statistics(**COUNTED, step_ns=step_ns)).server_time_ms
    assert (found is not None) == is_told


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        (
            {**COUNTED, "success": 3},
            "the server counted 3 successes, this client 2",
        ),
        ({**COUNTED, "success": 1}, "the server counted 1 successes"),
        ({**COUNTED, "success": 0}, "the server counted 0 successes"),
        ({**COUNTED, "compute_infer_ns": 30 * MS}, "exceed the service times"),
        ({**COUNTED, "compute_infer_ns": -MS}, "exceed the service times"),
        ({**COUNTED, "step_ns": MS}, "too coarse"),
    ],
)
def test_no_time_is_broken_down_by_foreign_counts(counted: dict[str, Any], words: str) -> None:
    """Statistics that are not about this client's successes, or cannot be, give no breakdown and no merging, but a
    doubt with both counts."""
    seen = trial(lanes([(0, 10), (10, 22)]), server_statistics=statistics(**{"executions": 1, **counted}))
    (doubt,) = [each for each in doubts_about(seen, rounds=2) if each.code == "breakdown_unknown"]
    assert seen.server_time_ms is None
    assert words in doubt.sentence
    assert (doubt.value, doubt.limit) == (counted["success"], 2)


def test_a_breakdown_of_the_same_requests_is_not_doubted() -> None:
    """Where the server counted what the client sent, its parts are shown without a doubt."""
    seen = trial(lanes([(0, 10), (10, 22)]), server_statistics=statistics(**COUNTED))
    assert "breakdown_unknown" not in {each.code for each in doubts_about(seen, rounds=2)}
    assert "breakdown_unknown" not in {each.code for each in doubts_about(trial(), rounds=2)}


def test_a_tf_serving_without_metrics_is_doubted() -> None:
    """Where a TensorFlow Serving shows no metrics, the missing breakdown is a doubt with the flags that it lacks."""
    seen = trial(label="tfserving", server=server_facts("tfserving", url="h:8500"))
    (doubt,) = [each for each in doubts_about(seen, rounds=2) if each.code == "breakdown_unknown"]
    assert "no metrics on the port above h:8500" in doubt.sentence
    assert "--rest_api_port one above --port" in doubt.remedy


def test_without_a_success_no_time_is_broken_down() -> None:
    """A trial whose requests all failed has no service time to tell apart."""
    failed = samples.table([sample(0, 10, status="INTERNAL", error="x")])
    assert trial(failed, server_statistics=statistics(**COUNTED)).server_time_ms is None
