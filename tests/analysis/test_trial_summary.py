"""ObservedTrial trials -> numbers that can be defended."""

from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
from helpers import MS, OPEN, doubt_codes, lanes, sample, telemetry, trial
from record_builders import load, record, worker_facts

from raybench.analysis import trial_summary
from raybench.analysis.throughput import Requests, Throughput
from raybench.results import samples


def two_lanes() -> pa.Table:
    """Window 14..26 ms; inside lie 0.6 + 0.6 requests of lane 0 and 1 of lane 1."""
    return lanes([(0, 10), (10, 20), (20, 30)], [(2, 14), (14, 26)], items=5)


def test_throughput_is_of_the_window() -> None:
    """Throughput is successes over the window, straddling ones by their share; job time is first send to last reply."""
    found = trial(two_lanes())
    assert found.window_s == pytest.approx(0.012)
    assert found.job_s == pytest.approx(0.030)
    assert found.throughput.requests_per_s == pytest.approx(2.2 / 0.012)
    assert found.throughput.inferences_per_s == pytest.approx(5 * 2.2 / 0.012)
    assert found.achieved_rps == pytest.approx(2.2 / 0.012)


def test_latency_is_of_requests_sent_inside_the_window() -> None:
    """Latency is of what was sent while all lanes were active: 10 and 12 ms of the five requests here."""
    found = trial(two_lanes()).service_ms
    assert (found.n, found.mean, found.max) == (2, pytest.approx(11), pytest.approx(12))


def test_failures_count_as_attempts_and_not_as_throughput() -> None:
    """A failed request counts with its status and the sentence of the first, and gives no throughput nor latency."""
    statuses = ["OK", "UNAVAILABLE", "OK", "DEADLINE_EXCEEDED", "UNAVAILABLE"]
    found = trial(
        samples.table(
            [
                sample(i * 10, i * 10 + 10, seq=i, status=s, error=None if s == "OK" else f"no {i}")
                for i, s in enumerate(statuses)
            ]
        )
    )
    assert found.requests == Requests(
        attempted=5, succeeded=2, failed=3, errors={"UNAVAILABLE": 2, "DEADLINE_EXCEEDED": 1}, first_error="no 1"
    )
    assert found.requests.error_rate == pytest.approx(0.6)
    assert found.throughput.requests_per_s == pytest.approx(1 / 0.04)
    assert found.achieved_rps == pytest.approx(4 / 0.04)
    assert found.service_ms.n == 1


def test_warm_up_is_in_no_number() -> None:
    """Warm-up requests change nothing that is reported."""
    slow = samples.table([sample(-500, -1, phase=samples.WARMUP, status="UNAVAILABLE", error="x")])
    with_warm_up, without = trial(samples.merge([slow, two_lanes()])), trial(two_lanes())
    assert with_warm_up == without


def test_open_loop_has_response_and_lag() -> None:
    """In open loop response and lag are given beside service, from the due time."""
    found = trial(samples.table([sample(s, s + 10, due_ms=s - 3, seq=s) for s in (3, 13, 23)]))
    assert (found.service_ms.max, found.response_ms.max, found.lag_ms.max) == pytest.approx((10, 13, 3))


@pytest.mark.parametrize("name", ["response_ms", "lag_ms", "ceiling", "server_time_ms", "server_statistics"])
def test_what_a_closed_loop_trial_does_not_know_is_null(name: str) -> None:
    """What was not observed is null, never 0."""
    assert getattr(trial(two_lanes()), name) is None


@pytest.mark.parametrize("name", ["job_s", "window_s", "throughput", "achieved_rps", "service_ms", "payload"])
def test_a_trial_without_requests_has_no_numbers(name: str) -> None:
    """A trial in which nothing was sent has nulls, never zeros that look measured."""
    assert getattr(trial(samples.SCHEMA.empty_table(), workers=()), name) is None


def test_a_trial_without_workers_is_a_row_too() -> None:
    """A trial that never got its workers keeps its status, reason and a count of nothing."""
    seen = record(workers=(), status="skipped", reason="no Triton here", telemetry=None, placement=None)
    found = trial_summary.summarize_trial(seen, samples.SCHEMA.empty_table(), telemetry())
    assert (found.status, found.reason, found.workers) == ("skipped", "no Triton here", ())
    assert found.requests.attempted == 0


def test_all_failed_is_a_throughput_of_zero() -> None:
    """Where every request of a window failed, throughput is known and 0; there is no latency of it."""
    found = trial(lanes([(0, 10), (10, 20)], status="UNAVAILABLE", error="x"))
    assert found.throughput == Throughput(requests_per_s=0.0, inferences_per_s=0.0)
    assert found.service_ms is None
    assert found.requests.failed == 2


def test_distinct_counts_only_what_was_sent() -> None:
    """`distinct` counts the images that left in measured requests, by hash over all workers, not those prepared."""
    workers = [worker_facts(0), worker_facts(1)]
    rows = [
        sample(0, 1, items=2),
        sample(1, 2, items=2, payload=1),
        sample(2, 3, items=2),
        sample(0, 3, worker=1, items=2),
    ]
    warm_up = sample(-1, 0, items=2, payload=2, phase=samples.WARMUP)
    hashes = {0: ("a", "b", "c", "d", "e", "f"), 1: ("a", "x", "y", "z")}
    found = trial(samples.table([warm_up, *rows]), workers=workers, load=load(batch_size=2), item_hashes=hashes).payload
    assert found.items == 8
    assert found.distinct == len({"a", "b", "c", "d"} | {"a", "x"})


def test_payload_hashes_stay_out_of_the_summary() -> None:
    """The summary says how many items differ, and does not carry their hashes."""
    assert "hash" not in str(asdict(trial(two_lanes())))


def test_an_open_loop_has_response_lag_and_pacing_error() -> None:
    """In an open loop all that was due in the window is summed up, and the schedule's own rate stands beside."""
    rows = samples.table([sample(due + 2, due + 7, due_ms=due, seq=due) for due in range(0, 110, 10)])
    found = trial(rows, load=load(**OPEN))
    assert (found.response_ms.n, found.response_ms.mean, found.service_ms.mean, found.lag_ms.mean) == (10, 7, 5, 2)
    assert found.pacing_error_ms.mean == 2
    assert (found.scheduled_rps, found.achieved_rps, found.cap_hits) == (pytest.approx(100), pytest.approx(100), 0)


def test_a_wait_for_images_is_no_service() -> None:
    """Of a stream what lanes waited is summed up apart, with its share of their time; of a preload it is unknown."""
    rows = samples.table([sample(s, s + 6, seq=s, woke_ns=(s - 2) * MS) for s in (2, 10, 18)])
    found = trial(rows, load=load(feed="stream"))
    assert (found.service_ms.mean, found.feed_wait_ms.mean, found.feed_wait_share) == (6, 2, 0.25)
    assert (trial(rows).feed_wait_ms, trial(rows).feed_wait_share) == (None, None)


def test_images_that_come_and_go_leave_memory_unknown() -> None:
    """TensorFlow in a worker that streams cannot be told from its images: null, where a server of its own has all."""
    memory = telemetry({"kind": "process", "id": "7", "rss_mib": 512.0})
    fed = [worker_facts(payload_held_mib=None)]
    assert trial(None, memory, label="local", workers=fed).memory.peak_mib is None
    assert trial(None, memory, label="triton x1", workers=fed).memory.peak_mib == 512.0


def test_a_closed_loop_has_no_schedule() -> None:
    """In a closed loop nothing is due: what compares with a schedule is null."""
    found = trial(two_lanes())
    assert (found.scheduled_rps, found.cap_hits, found.pacing_error_ms, found.response_ms) == (None, None, None, None)


def test_a_trial_that_did_not_settle_is_unstable() -> None:
    """A trial whose service time keeps growing is `unstable` with the reason, and keeps its numbers."""
    ends = np.cumsum(np.linspace(20, 60, 500))
    found = trial(lanes(list(zip([0, *ends[:-1]], ends, strict=True))))
    assert found.status == "unstable"
    assert "in its thirds" in found.reason
    assert found.throughput.inferences_per_s > 0
    assert trial(lanes([(i * 40, i * 40 + 40) for i in range(500)])).status == "ok"


def test_an_unstable_trial_that_failed_keeps_its_own_reason() -> None:
    """What became of a trial stands first: steadiness is asked of whole ones alone."""
    ends = np.cumsum(np.linspace(20, 60, 500))
    rows = lanes(list(zip([0, *ends[:-1]], ends, strict=True)))
    assert trial(rows, status="degraded", reason="lost: worker 1").status == "degraded"


def calibrated(each_ms: float, status: str = "OK") -> pa.Table:
    """Two lanes of 10 requests of 10 ms with 8 images, after which both sent 40 to a model that does nothing."""
    empty = [(200 + i * each_ms, 200 + (i + 1) * each_ms) for i in range(40)]
    rows = lanes(*[[(i * 10, i * 10 + 10) for i in range(10)]] * 2, items=8)
    return samples.merge([rows, lanes(empty, empty, items=8, phase=samples.CEILING, status=status)])


def test_the_ceiling_is_what_a_model_that_does_nothing_allows() -> None:
    """Throughput of the calibration is the ceiling, over that of the trial the headroom; no other number has it."""
    found, plain = trial(calibrated(2.0), load=TWO_LANES), trial(samples.measured(calibrated(2.0)), load=TWO_LANES)
    assert found.ceiling == Throughput(requests_per_s=pytest.approx(1000), inferences_per_s=pytest.approx(8000))
    assert found.headroom == pytest.approx(5)
    assert (plain.ceiling, plain.headroom) == (None, None)
    assert (found.throughput, found.service_ms, found.requests) == (plain.throughput, plain.service_ms, plain.requests)
    assert found.payload == plain.payload


def test_a_ceiling_without_an_answer_is_none() -> None:
    """A calibration in which every request failed says nothing of the client."""
    assert trial(calibrated(2.0, status="INTERNAL"), load=TWO_LANES).ceiling is None


def test_a_ceiling_below_what_was_measured_is_none() -> None:
    """What a model under test exceeds is no ceiling: it is null, and the doubt says what was found."""
    found = trial(calibrated(20.0), load=TWO_LANES)
    assert (found.ceiling, found.headroom) == (None, None)
    assert found.ceiling_reason == ("a model that does nothing gave it 100 requests/s, and the model under test 200")


TWO_LANES = load(in_flight=2, concurrency=2, batch_size=8)


def test_what_a_lost_worker_sent_is_not_known() -> None:
    """A lost worker takes its hashes along: how many items differ is then unknown, not 0, and a doubt says so."""
    found = trial(item_hashes={0: ()})
    assert (found.payload.items, found.payload.distinct) == (2, None)
    assert "payloads_unknown" in doubt_codes(found)
    assert trial().payload.distinct == 1
