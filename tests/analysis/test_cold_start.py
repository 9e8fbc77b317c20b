"""Cold start, from what was observed: when the first answer came, and from when on replies were steady."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import MS, lanes, observed, sample, summary
from record_builders import load, record, worker_facts

from raybench.analysis.cold_start import ColdStart, cold_start, steady_from
from raybench.results import samples
from raybench.results.records import StartRecord

START = StartRecord(ready_s=3.0, warm_up_s=0.5)
SLOW_FIRST = [(0, 400), *((400 + 10 * i, 410 + 10 * i) for i in range(30))]


def found(rows: pa.Table, **changes: Any) -> ColdStart | None:
    return cold_start(record(**{"server_start": START, **changes}), rows)


def test_the_time_without_requests_is_left_out() -> None:
    """Ready is as observed; the first answer and steady replies come after it by what requests took, wherever the
    warm-up began on its clock, and the measured requests count for nothing."""
    begun_ms = 90_000
    shifted = [(begun_ms + sent, begun_ms + done) for sent, done in SLOW_FIRST]
    rows = samples.merge([lanes(shifted, phase=samples.WARMUP), lanes([(200_000, 200_900)])])
    assert found(rows) == ColdStart(
        ready_s=3.0, warm_up_s=0.5, first_answer_s=pytest.approx(3.4), steady_s=pytest.approx(3.41)
    )


def test_without_a_warm_up_the_first_measured_request_counts() -> None:
    """A trial that warms nothing up meets the cold server with its measured requests."""
    seen = found(lanes(SLOW_FIRST))
    assert seen
    assert (seen.first_answer_s, seen.steady_s) == (pytest.approx(3.4), pytest.approx(3.41))


def test_a_failure_is_no_answer() -> None:
    """The first answer is a success: until then failures take the client's time."""
    failed = sample(0, 50, phase=samples.WARMUP, status="UNAVAILABLE", error="x")
    rows = samples.merge([samples.table([failed]), lanes([(100, 110)], phase=samples.WARMUP)])
    seen = found(rows)
    assert seen
    assert seen.first_answer_s == pytest.approx(3.11)
    none = found(samples.table([failed]))
    assert none == ColdStart(ready_s=3.0, warm_up_s=0.5, first_answer_s=None, steady_s=None)


def test_workers_are_on_one_clock() -> None:
    """The first to send is found on the driver's clock, whatever the workers' clocks show."""
    ahead_ms = 5_000
    rows = samples.table(
        [
            sample(0, 80, phase=samples.WARMUP, worker=0),
            sample(ahead_ms + 10, ahead_ms + 60, phase=samples.WARMUP, worker=1),
        ]
    )
    seen = found(rows, workers=(worker_facts(0), worker_facts(1, clock_offset_ns=ahead_ms * MS)))
    assert seen
    assert seen.first_answer_s == pytest.approx(3.06)


def test_only_a_start_that_was_seen_has_one() -> None:
    """null in summary.json unless the trial is the first after a start: a server by url, or a later trial, has none."""
    first, later = summary(observed(server_start=START), observed(round=2)).trials
    assert first.cold_start
    assert later.cold_start is None


@pytest.mark.parametrize(
    ("latency_ms", "lanes", "first"),
    [
        ([100, 10, 10, 10, 10, 10, 10], 1, 1),
        ([100, 50, 10, 10, 10, 10, 10, 10], 1, 2),
        ([10] * 6, 1, 0),
        ([10] * 5, 1, None),  # too few to tell
        ([10] * 11, 2, None),  # too few of each lane
        ([20, *[10] * 1000], 1, 1),  # one of many that moves no mean
        ([80, 70, 60, 50, 40, 30, 20, 10], 1, None),  # still falling
        ([10, 20, 30, 40, 50, 60, 70, 80], 1, None),  # rising
        (np.linspace(100, 10, 100), 1, None),  # falling to the end: the last 6 are alike by chance
    ],
)
def test_where_steady_replies_begin(latency_ms: Any, lanes: int, first: int | None) -> None:
    """From the first request on after which three parts of the rest lie within 10 % of each other, and which was no
    slower than they are; never by fewer requests than say something."""
    assert steady_from(np.asarray(latency_ms) * 1e6, lanes=lanes, share=0.1) == first


def test_lanes_of_an_open_loop_warm_up_one_by_one() -> None:
    """An open loop warms up with one lane of each worker, so 6 requests of a worker are enough."""
    rows = lanes(SLOW_FIRST[:8], phase=samples.WARMUP)
    at_rate = load(concurrency=None, in_flight=64, arrivals="poisson", offered_rps=100.0)
    seen = found(rows, load=at_rate)
    assert seen
    assert seen.steady_s == pytest.approx(3.41)
