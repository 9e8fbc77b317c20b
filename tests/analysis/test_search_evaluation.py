"""What a trial says in a search: whether its load held."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import MS, OPEN, lanes, observed, sample, trial
from queue_simulation import served
from record_builders import load

from raybench.analysis.search import evaluation
from raybench.analysis.search.strategy import BROKE, HELD, LATE, UNKNOWN, SearchPoint
from raybench.config.search_goal import LATENCY, OOM, Goal
from raybench.results import samples

UP_TO_8 = Goal(kind=OOM, variable="workers", steps=(1, 2, 4, 8))
P90 = Goal(kind=LATENCY, variable="request_rate", steps=(10, 20, 40, 80), percentile="p90", limit_ms=50.0)
REFUSED = {"status": "RESOURCE_EXHAUSTED", "error": "OOM when allocating tensor"}


def judged(goal: Goal, rows: pa.Table | None = None, **changes: Any) -> SearchPoint:
    changes.setdefault("load", load(offered_rps=10.0))
    seen = observed(rows, **changes)
    return evaluation.point(goal, trial(rows, **changes), seen.record, seen.samples)


def test_an_answer_out_of_memory_breaks() -> None:
    """One refusal for memory is enough, and the point keeps the server's status and sentence."""
    rows = samples.table([*(sample(i, i + 1, seq=i) for i in range(9)), sample(9, 10, seq=9, **REFUSED)])
    assert (judged(UP_TO_8, rows).verdict, judged(UP_TO_8).verdict) == (BROKE, HELD)
    assert judged(UP_TO_8, rows).reason == "RESOURCE_EXHAUSTED: OOM when allocating tensor"


@pytest.mark.parametrize(
    "error",
    [
        "OOM when allocating tensor with shape[100,56,56,256]",
        "Operation received an exception:Status: 1, message: could not create a primitive",
        "std::bad_alloc",
        "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    ],
)
def test_memory_is_known_by_its_words(error: str) -> None:
    """A server may give another status than RESOURCE_EXHAUSTED: what TensorFlow, oneDNN, C++ and CUDA say counts."""
    rows = samples.table([sample(0, 1, status="INTERNAL", error=error)])
    assert judged(UP_TO_8, rows, status="failed", reason="no request succeeded").reason == f"INTERNAL: {error}"
    other = samples.table([sample(0, 1, status="INTERNAL", error="Status: 12, no such kernel")])
    assert judged(UP_TO_8, other, status="failed", reason="no request succeeded").verdict == UNKNOWN


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"status": "failed", "reason": "std::bad_alloc"}, BROKE, "std::bad_alloc"),
        ({"status": "failed", "reason": "it died; it said last:\nx", "server_ended": "it died"}, BROKE, "it died"),
        ({"status": "failed", "reason": "no such model"}, UNKNOWN, "failed: no such model"),
        ({"status": "skipped", "reason": "not here"}, UNKNOWN, "skipped: not here"),
        ({"status": "degraded", "reason": "lost"}, UNKNOWN, "degraded: lost"),
        ({"status": "interrupted", "reason": "from outside"}, UNKNOWN, "interrupted: from outside"),
    ],
)
def test_what_a_failed_trial_says(changes: dict[str, Any], verdict: str, reason: str) -> None:
    """Memory and a server that ended are what a search looks for; any other failure is no boundary."""
    point = judged(UP_TO_8, samples.merge([]), workers=(), **changes)
    assert (point.verdict, point.reason) == (verdict, reason)


@pytest.mark.parametrize(("slow", "verdict"), [(0, HELD), (4, HELD), (5, BROKE)])
def test_latency_is_judged_by_its_percentile(slow: int, verdict: str) -> None:
    """Of 40 requests 4 may miss a p90; the point has the percentile and what met the limit."""
    rows = lanes([(i * 100, i * 100 + (60 if i < slow else 10)) for i in range(40)])
    point = judged(P90, rows)
    assert point.verdict == verdict
    assert point.latency_ms == (60 if slow > 4 else 10)
    assert point.goodput_rps == pytest.approx((40 - slow) / 3.9, rel=0.05)


def test_a_failed_request_is_slower_than_any() -> None:
    """A server that refuses quickly keeps no threshold."""
    rows = samples.table(
        [sample(i, i + 1, seq=i, **({"status": "UNAVAILABLE", "error": "x"} if i < 5 else {})) for i in range(40)]
    )
    point = judged(P90, rows)
    assert (point.verdict, point.latency_ms) == (BROKE, None)
    assert "5 failed" in str(point.reason)


def test_an_open_loop_is_judged_by_response() -> None:
    """What waited for a lane waited: response counts, not service."""
    late = samples.table([sample(i * 10 + 60, i * 10 + 61, seq=i, due_ms=i * 10, lane=i % 64) for i in range(40)])
    busy = samples.table([sample(i * 10, i * 10 + 61, seq=i, due_ms=i * 10, lane=i % 64) for i in range(40)])
    assert judged(P90, busy, load=load(**OPEN)).verdict == BROKE
    assert judged(P90, late, load=load(**OPEN)).verdict == LATE
    assert judged(P90, lanes([(i * 10 + 60, i * 10 + 61) for i in range(40)])).verdict == HELD


def test_a_load_that_did_not_arrive_holds_nothing() -> None:
    """Where lanes waited for images the server had less than was asked for: neither good nor bad latency counts."""
    starved = load(feed="stream")
    for took_ms, verdict in ((10, HELD), (60, BROKE)):
        spans = [(i * 100, i * 100 + took_ms) for i in range(40)]
        assert judged(P90, lanes(spans), load=starved).verdict == verdict
        waited = samples.table([sample(*span, seq=i, woke_ns=(i * 100 - 30) * MS) for i, span in enumerate(spans)])
        point = judged(P90, waited, load=starved)
        assert (point.verdict, "--feed preload" in str(point.reason)) == (UNKNOWN, True)


def test_too_few_requests_hold_nothing() -> None:
    """A percentile that the sample cannot support is no promise, though a breach may be seen in it."""
    assert judged(P90, lanes([(i, i + 1) for i in range(20)])).verdict == UNKNOWN
    assert judged(P90, lanes([(i * 100, i * 100 + 60) for i in range(20)])).verdict == BROKE


@pytest.mark.parametrize(("slow", "of", "hopeless"), [(0, 40, False), (8, 40, False), (9, 40, True), (3, 3, True)])
def test_a_breach_is_known_before_the_end(slow: int, of: int, hopeless: bool) -> None:
    """A trial may end when more requests are slow than chance would have with a percentile within the limit."""
    rows = lanes([(i * 100, i * 100 + (60 if i < slow else 10)) for i in range(of)])
    assert evaluation.is_futile(P90, [rows]) is hopeless
    assert not evaluation.is_futile(UP_TO_8, [rows])


@pytest.mark.parametrize(
    "error",
    [
        "",  # what TensorFlow Serving says without a free thread
        "Server Threadpool Exhausted",
        "Received message larger than max (9437184 vs. 4194304)",
        "Quota exceeded for requests per minute",
    ],
)
def test_only_memory_is_memory(error: str) -> None:
    """A refusal for want of threads, of a quota or of room in a message is no end of memory, nor does it show that
    memory held: the load did not get there."""
    refused = sample(9, 10, seq=9, status="RESOURCE_EXHAUSTED", error=error)
    rows = samples.table([*(sample(i, i + 1, seq=i) for i in range(9)), refused])
    point = judged(UP_TO_8, rows)
    assert point.verdict == UNKNOWN
    assert "before they took memory" in point.reason
    late = samples.table([*(sample(i, i + 1, seq=i) for i in range(9)), refused._replace(status="DEADLINE_EXCEEDED")])
    assert judged(UP_TO_8, late).verdict == HELD


@pytest.mark.parametrize(
    "error",
    [
        "Allocator (GPU_0_bfc) ran out of memory trying to allocate 2.1GiB",
        "failed to alloc 8589934592 bytes on host: CUBLAS_STATUS_ALLOC_FAILED",
        "Failed to increase the shared memory pool size for key 'x' to 67108864 bytes",
    ],
)
def test_memory_of_devices_and_shared_memory_is_memory(error: str) -> None:
    """Allocators of GPUs, and the pool that Triton shares with its stubs, say memory in words of their own."""
    rows = samples.table([sample(0, 1, status="RESOURCE_EXHAUSTED", error=error)])
    assert judged(UP_TO_8, rows, status="failed", reason="no request succeeded").verdict == BROKE


@pytest.mark.parametrize(("rate", "verdict"), [(150.0, HELD), (210.0, BROKE), (250.0, BROKE), (800.0, BROKE)])
def test_a_backlog_is_no_load_that_holds(rate: float, verdict: str) -> None:
    """A server of 200 a second holds nothing above, however short the trial and wide the limit."""
    goal = replace(P90, limit_ms=5000.0)
    rows = served(np.full(2000, 0.005), at_once=1, lanes=2000, due_s=np.arange(2000) / rate)
    point = judged(goal, rows, load=load(**{**OPEN, "offered_rps": rate, "in_flight": 2000}))
    assert point.verdict == verdict
    assert (point.capacity_rps is None) == (verdict == HELD)
    if verdict == BROKE:
        assert "overloaded" in str(point.reason)
        assert point.capacity_rps == pytest.approx(200, rel=0.01)


def test_a_cap_that_was_hit_is_no_load_that_holds() -> None:
    """Requests that were due while all lanes waited are overload, though their percentile is within the limit."""
    rows = served(np.full(400, 0.005), at_once=1, lanes=4, due_s=np.arange(400) / 210)
    point = judged(replace(P90, limit_ms=5000.0), rows, load=load(**{**OPEN, "in_flight": 4}))
    assert (point.verdict, "all 4 in flight waited" in str(point.reason)) == (BROKE, True)


@pytest.mark.parametrize(("late_ms", "service_ms", "verdict"), [(250, 5, LATE), (20, 5, HELD), (1, 60, BROKE)])
def test_a_late_client_is_not_the_server(late_ms: float, service_ms: float, verdict: str) -> None:
    """Where the client itself sent late there is no answer about the server, and the sentence says how to go on."""
    rows = samples.table(
        [
            sample(due + late_ms, due + late_ms + service_ms, due_ms=due, seq=i, lane=i % 64)
            for i, due in enumerate(range(0, 40_000, 100))
        ]
    )
    point = judged(P90, rows, load=load(**OPEN))
    assert point.verdict == verdict
    assert ("the client sent late" in str(point.reason)) == (verdict == LATE)
    assert ("search again" in str(point.reason)) == (verdict == LATE)


def test_a_closed_loop_ends_when_it_has_sent_enough() -> None:
    """A step whose length nobody gave ends with twice the requests that its percentile needs, and not before 10 s."""
    closed = replace(P90, variable="concurrency", is_adaptive=True)
    long, short = lanes([(i * 100, i * 100 + 10) for i in range(120)]), lanes([(i, i + 1) for i in range(120)])
    assert evaluation.is_decided(closed, [long])
    assert not evaluation.is_decided(closed, [short])
    assert not evaluation.is_decided(replace(closed, is_adaptive=False), [long])
    assert not evaluation.is_decided(replace(P90, is_adaptive=True), [long])


def test_a_hiccup_at_the_start_ends_no_step() -> None:
    """Requests that a hiccup delays are late together: half a second of them decides nothing, two seconds do."""
    slow = [(i * 10, i * 10 + 60) for i in range(250)]
    assert not evaluation.is_decided(P90, [lanes(slow[:50])])
    assert evaluation.is_decided(P90, [lanes(slow)])
