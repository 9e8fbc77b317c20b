"""A worker against the fake server: what it sends, when, and what it writes down."""

import gc
import hashlib
import os
import pickle
import resource
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import DEADLINE_S, MS, fake_task, images, wait_until

from raybench.analysis.window import cap_hits, pacing_error_ns, with_lane_free
from raybench.clients.base import ClientError
from raybench.config import Benchmark, plan
from raybench.results import samples
from raybench.results.records import CopyCost
from raybench.worker import encoder
from raybench.worker.lanes import CHUNK_ROWS
from raybench.worker.load_worker import Worker, chunk_s
from raybench.worker.task import Task


def batch(count: int) -> dict[str, np.ndarray]:
    return {"images": images(count)}


def opened(task: Task, count: int = 6) -> Worker:
    worker = Worker(task)
    worker.open()
    worker.encode([batch(count)])
    return worker


def ran(task: Task, count: int = 6) -> pa.Table:
    return samples.merge(list(opened(task, count).run(time.time())))


@pytest.mark.parametrize(("requests", "concurrency"), [(1, 1), (7, 1), (7, 3), (2, 4)])
def test_a_worker_sends_its_share_exactly(requests: int, concurrency: int) -> None:
    """A worker sends as many requests as its share, each once, over however many lanes."""
    rows = ran(fake_task(requests=requests, concurrency=concurrency))
    assert sorted(rows["seq"].to_pylist()) == list(range(requests))
    assert set(rows["lane"].to_pylist()) <= set(range(concurrency))


def test_requests_cycle_through_the_payloads() -> None:
    """A worker sends its encoded requests one after the other, and begins again when they are used up."""
    rows = ran(fake_task(requests=8, batch_size=2), count=6)
    assert [(seq, seq % 3) for seq in range(8)] == list(
        zip(*rows.select(["seq", "payload"]).to_pydict().values(), strict=True)
    )


def test_a_lane_has_one_request_in_flight() -> None:
    """In closed loop a lane's next request leaves when its last reply is in, never before."""
    rows = ran(fake_task(requests=12, concurrency=3)).to_pylist()
    for lane in {row["lane"] for row in rows}:
        mine = sorted((row for row in rows if row["lane"] == lane), key=lambda row: row["sent_ns"])
        assert all(earlier["done_ns"] <= later["sent_ns"] for earlier, later in pairwise(mine))


def test_lanes_are_in_flight_together() -> None:
    """Concurrency is requests in flight at once: two hanging requests overlap."""
    rows = ran(fake_task("hang_every=1", requests=2, concurrency=2, timeout=1.0))
    assert len(set(rows["lane"].to_pylist())) == 2
    assert max(rows["sent_ns"].to_pylist()) < min(rows["done_ns"].to_pylist())


def test_stamps_are_in_order_and_nothing_is_due() -> None:
    """A request wakes, is sent and is done in this order; in closed loop nothing is due."""
    for row in ran(fake_task(concurrency=2)).to_pylist():
        assert row["woke_ns"] <= row["sent_ns"] < row["done_ns"]
        assert row["due_ns"] is None


def test_no_request_leaves_before_the_common_start() -> None:
    """All workers start together: none sends before the instant that the gate gave, in epoch time."""
    start_at_s = time.time() + 0.3
    rows = samples.merge(list(opened(fake_task()).run(start_at_s)))
    assert min(rows["woke_ns"].to_pylist()) >= (start_at_s - 0.05) * 1e9
    assert max(rows["done_ns"].to_pylist()) <= time.time_ns() + 5e7


def test_a_duration_ends_the_sending() -> None:
    """With a duration requests leave until it is over; the one in flight then is drained and stays a row."""
    worker = opened(fake_task("service_ms=20", requests=None, duration=0.3))
    rows = samples.merge(list(worker.run(time.time() + 0.5)))  # all is ready by then
    woke = rows["woke_ns"].to_pylist()
    assert max(woke) - min(woke) < 0.3e9
    assert max(rows["done_ns"].to_pylist()) - min(woke) > 0.28e9  # a lane may begin some milliseconds late


def test_warm_up_is_apart_from_what_is_measured() -> None:
    """Warm-up is sent on its own, marked, and does not come again among the measured samples."""
    worker = opened(fake_task(requests=4, warmup=3))
    warm_up, measured = worker.warm_up(), samples.merge(list(worker.run(time.time())))
    assert warm_up["phase"].to_pylist() == [samples.WARMUP] * 3
    assert measured["phase"].to_pylist() == [samples.MEASURED] * 4
    assert sorted(measured["seq"].to_pylist()) == [0, 1, 2, 3]


def test_warm_up_goes_on_until_it_is_steady() -> None:
    """Where no number is asked for, at least three windows are sent, and more while the server is still settling."""
    steady = opened(fake_task("service_ms=20", requests=4, warmup=None, stability_percentage=50.0)).warm_up()
    late = opened(fake_task("service_ms=20,stall_at=10,stall_ms=400", warmup=None, stability_percentage=50.0)).warm_up()
    assert set(steady["phase"].to_pylist()) == {samples.WARMUP}
    assert len(steady) >= 3 * 2
    assert max(samples.service_ns(late)) >= 400 * MS
    assert samples.service_ns(late)[-2:].max() < 200 * MS


def test_a_warm_up_that_does_not_settle_ends() -> None:
    """Warm-up is bounded: a server that never settles is measured all the same."""
    worker = opened(fake_task("service_ms=5", warmup=None, warmup_timeout=0.3, stability_percentage=1e-6))
    began = time.monotonic()
    assert len(worker.warm_up()) >= 2
    assert time.monotonic() - began < DEADLINE_S


def test_the_warm_up_of_an_open_loop_is_no_burst() -> None:
    """Warm-up of an open loop goes over one lane: all lanes at once would be a load that it may never bring."""
    load = {"request_rate": (5.0,), "request_count": 4, "warmup_timeout": 0.2}
    rows = opened(fake_task("service_ms=5", requests=None, warmup=None, **load)).warm_up()
    assert set(rows["lane"].to_pylist()) == {0}


def test_without_warm_up_nothing_is_sent_before_the_start() -> None:
    """--warmup-request-count 0 sends no warm-up."""
    assert len(opened(fake_task(warmup=0)).warm_up()) == 0


def test_a_failed_request_is_a_row() -> None:
    """A failed request is a row with its status and error, and the lane goes on."""
    rows = ran(fake_task("service_ms=0,fail_every=2", requests=6)).to_pylist()
    assert [row["status"] for row in rows] == ["OK", "UNAVAILABLE"] * 3
    assert [bool(row["error"]) for row in rows] == [False, True] * 3
    assert [row["received_bytes"] > 0 for row in rows] == [True, False] * 3


def test_a_request_that_hangs_ends_at_its_deadline() -> None:
    """A request without an answer is given up at --timeout, as a row with DEADLINE_EXCEEDED."""
    rows = ran(fake_task("hang_every=2", requests=4, timeout=0.05))
    assert rows["status"].to_pylist() == ["OK", "DEADLINE_EXCEEDED"] * 2
    assert all(ns >= 0.05e9 for ns in samples.service_ns(rows)[[1, 3]])


def test_bytes_and_items_are_on_record() -> None:
    """A row says how many items and payload bytes its request carried, for rates in items and MiB."""
    rows = ran(fake_task(batch_size=2)).to_pylist()
    assert {(row["items"], row["sent_bytes"]) for row in rows} == {(2, 2 * 2 * 2 * 3)}


def test_halt_keeps_what_was_sent() -> None:
    """A worker that is halted sends nothing more, ends, and hands over what it had measured."""
    worker = opened(fake_task(requests=None, duration=2.0 * DEADLINE_S))
    chunks: list[pa.Table] = []
    runner = threading.Thread(target=lambda: chunks.extend(worker.run(time.time())), daemon=True)
    runner.start()
    wait_until(lambda: chunks)
    worker.halt()
    runner.join(DEADLINE_S)
    seqs = sorted(samples.merge(chunks)["seq"].to_pylist())
    assert not runner.is_alive()
    assert seqs == list(range(len(seqs)))
    assert len(seqs) > 1


def test_samples_come_while_a_trial_runs() -> None:
    """Samples travel back in chunks during a trial, also while no reply comes in: silence means a lost worker."""
    worker = opened(fake_task("hang_every=1", requests=1, timeout=2.5))
    chunks = list(worker.run(time.time()))
    assert len(chunks[0]) == 0
    assert sum(map(len, chunks)) == 1


def test_chunks_are_small_and_not_too_many() -> None:
    """Ray sends up to 100 kB along with the news of it: such samples outlive their node. Many workers send seldom."""
    worker = opened(fake_task("service_ms=0", requests=2500))
    chunks = list(worker.run(time.time()))
    assert sum(map(len, chunks)) == 2500
    assert max(map(len, chunks)) == CHUNK_ROWS
    assert max(len(pickle.dumps(chunk, protocol=5)) for chunk in chunks) < 100_000
    assert [chunk_s(workers) for workers in (1, 200, 1000)] == [0.5, 0.5, 2.5]


def test_the_clock_of_samples_goes_on_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose clock is set anew in the middle of a trial moves neither its samples nor what the driver sees."""
    worker = opened(fake_task(requests=1))
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    before_ns = worker.clock_ns()
    (sent_ns,) = samples.merge(list(worker.run(before_ns / 1e9)))["sent_ns"].to_pylist()
    assert before_ns <= sent_ns <= worker.clock_ns() < before_ns + DEADLINE_S * 1e9


def test_a_run_that_is_abandoned_stops_sending() -> None:
    """When nobody reads the samples any more, the worker sends no more requests."""
    worker = opened(fake_task(requests=None, duration=10.0))
    stream = worker.run(time.time())
    assert 0 in next(stream)["seq"].to_pylist()
    stream.close()
    assert 0 not in samples.merge(list(worker.run(time.time())))["seq"].to_pylist()


def test_a_run_gives_garbage_collection_back() -> None:
    """Collecting garbage is put off while requests are timed, and only then."""
    stream = opened(fake_task()).run(time.time())
    next(stream)
    assert not gc.isenabled()
    list(stream)
    assert gc.isenabled()


def test_only_whole_batches_are_sent() -> None:
    """Every request carries the batch size that was asked for; images that do not fill one are left out."""
    worker = Worker(fake_task(batch_size=2))
    worker.open()
    payloads = worker.encode([batch(3), batch(2)])
    assert (payloads.requests, payloads.request_bytes, len(payloads.item_hashes)) == (2, 24, 4)


def test_equal_images_have_equal_hashes() -> None:
    """Payload hashes tell how many images differ: equal images have equal hashes, others do not."""
    worker = Worker(fake_task(batch_size=2))
    worker.open()
    hashes = worker.encode([batch(3), batch(3)]).item_hashes
    assert hashes[:3] == hashes[3:]
    assert len(set(hashes)) == 3


def test_a_request_is_the_images_of_its_hashes() -> None:
    """Hash i belongs to image i as it is sent: payload p holds images p x batch size and on."""
    worker = Worker(fake_task(batch_size=2))
    worker.open()
    hashes = worker.encode([batch(4)]).item_hashes
    digests = [hashlib.blake2b(np.full((2, 2, 3), i, np.uint8).tobytes(), digest_size=16).hexdigest() for i in range(4)]
    assert list(hashes) == digests


@pytest.mark.parametrize("counts", [[1], [0], []], ids=["too few", "empty", "no block"])
def test_a_worker_without_a_batch_says_so(counts: list[int]) -> None:
    """A worker whose share does not fill one request fails with both numbers, before any load is sent."""
    worker = Worker(fake_task(batch_size=2))
    worker.open()
    with pytest.raises(ClientError, match=f"worker 0 got {sum(counts)} items.*batch of 2"):
        worker.encode([batch(count) for count in counts])


def test_a_wrong_endpoint_is_known_at_opening() -> None:
    """An endpoint that cannot be used is a sentence when the worker opens, not a row per request."""
    with pytest.raises(ClientError, match="speed=9"):
        Worker(fake_task("speed=9")).open()


def test_a_worker_says_where_it_is_and_what_it_used() -> None:
    """A worker's usage names its node and process, and its CPU time grows as it works."""
    worker = opened(fake_task())
    before = worker.usage()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    after = worker.usage()
    assert (after.worker, after.pid) == (0, os.getpid())
    assert after.cpu_s > before.cpu_s
    assert after.rss_mib > 1


def open_loop(script: str, rate_rps: float, requests: int, *, lanes: int, worker: int = 0, **changes: Any) -> pa.Table:
    """The samples of an open loop that begins when all lanes wait for it."""
    load = {"request_rate": (rate_rps,), "max_in_flight": lanes, "request_count": requests, **changes}
    task = fake_task(script, requests=None, request_distribution="constant", **load)
    rows = list(opened(replace(task, worker=worker)).run(time.time() + 0.1))
    return with_lane_free(samples.merge(rows)).sort_by("due_ns")


def test_an_open_loop_keeps_its_schedule() -> None:
    """Requests are due at the asked rate from the start on, each once, and none leaves before it is due."""
    rows = open_loop("service_ms=1", 200, 20, lanes=4)
    assert np.diff(samples.ns(rows, "due_ns")).tolist() == [5 * MS] * 19
    assert sorted(rows["seq"].to_pylist()) == list(range(20))
    assert (samples.lag_ns(rows) >= 0).all()
    assert (pacing_error_ns(rows) >= 0).all()


def test_the_workers_of_an_open_loop_share_its_schedule() -> None:
    """Each worker sends its own part of the schedule, known from the seed alone: together they send all of it."""
    parts = [open_loop("service_ms=0", 200, 20, lanes=4, workers=2, worker=worker) for worker in range(2)]
    for rows in parts:
        assert np.diff(samples.ns(rows, "due_ns")).tolist() == [10 * MS] * 9


def test_a_stall_shows_in_response_and_not_in_service() -> None:
    """A server that stands still makes every request due meanwhile late: no coordinated omission hides it.

    Of 400 requests at 500/s, those due in the 400 ms of the stall wait for its end; the one lane is in flight once.
    """
    rows = open_loop("service_ms=0,stall_at=100,stall_ms=400", 500, 400, lanes=1)
    response_ms, service_ms = samples.response_ns(rows) / MS, samples.service_ns(rows) / MS
    assert (service_ms > 200).sum() == 1
    assert response_ms.max() >= 400
    for within_ms in (100, 200, 300):  # due so long after it began, and then so much less late
        assert response_ms[99 + within_ms // 2] >= 400 - within_ms
    assert cap_hits(rows) >= 198


def test_what_found_no_lane_free_is_counted() -> None:
    """With two lanes of 50 ms and a request due each 20 ms, later ones find both lanes busy; with enough, none."""
    full = open_loop("service_ms=50", 50, 12, lanes=2)
    assert cap_hits(full) >= 8
    assert np.diff(samples.lag_ns(full))[4:].max() > 0
    assert cap_hits(open_loop("service_ms=50", 50, 12, lanes=12)) == 0


def test_waiting_for_a_lane_is_no_pacing_error() -> None:
    """How late the client was counts from when a lane was free: that a slow server kept them all is not its fault."""
    rows = open_loop("service_ms=50", 100, 12, lanes=1)
    assert samples.lag_ns(rows).max() >= 400 * MS
    assert (pacing_error_ns(rows) <= samples.lag_ns(rows)).all()
    assert np.median(pacing_error_ns(rows)) < 40 * MS


def test_a_duration_ends_an_open_loop() -> None:
    """Nothing leaves after the duration, even if it was due before: an overloaded server does not prolong the trial."""
    rows = open_loop("service_ms=50", 100, None, lanes=1, duration=0.5)
    begun = samples.ns(rows, "sent_ns") - samples.ns(rows, "due_ns")[0]
    assert len(rows) < 20
    assert begun.max() < 0.5e9 + 50 * MS


def test_a_halt_ends_the_wait_for_what_is_due() -> None:
    """A worker that is halted does not wait for a request that is due much later."""
    task = fake_task("", requests=None, request_rate=(0.001,), request_count=2, request_distribution="constant")
    worker = opened(task)
    runner = threading.Thread(target=lambda: list(worker.run(time.time())), daemon=True)
    runner.start()
    worker.halt()
    runner.join(DEADLINE_S)
    assert not runner.is_alive()


def test_bytes_of_any_length_are_sent() -> None:
    """Items that are bytes are sent whole, zeros at their ends too, and the bytes of a request are counted."""
    worker = Worker(fake_task(requests=2, signature="predict_jpegs"))
    worker.open()
    files = np.array([b"one\0\0", b"", b"three", b"\0"], object)
    payloads = worker.encode([{"jpeg_images": files}])
    rows = samples.merge(list(worker.run(time.time())))
    assert rows["sent_bytes"].to_pylist() == [5, 6]
    assert len(set(payloads.item_hashes)) == 4


def test_lanes_may_have_their_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of many lanes may open as many files as they need, or says at once that its host allows too few."""
    asked = Benchmark(server=("triton",), url={"triton": "127.0.0.1:1"}, workers=1, concurrency=1000)
    cell = plan.trials(asked)[0].cell
    cell = replace(cell, load=replace(cell.load, concurrency=3000, in_flight=3000))
    task = replace(fake_task(), cell=cell, url="127.0.0.1:1")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        with pytest.raises(ClientError, match="no Triton answers"):
            Worker(task).open()
        assert 3000 < resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 2048))
    with pytest.raises(ClientError, match=r"needs 3500 open files .* allows a process 2048: use fewer lanes"):
        Worker(task).open()


def test_one_worker_of_a_host_reads_it() -> None:
    """A worker that was to watch its host says what the CPUs did from the start to the last reply; others do not."""
    worker, other = opened(fake_task("service_ms=20")), opened(fake_task())
    worker.watch_host((os.getpid(),))
    for each in (worker, other):
        assert len(samples.merge(list(each.run(time.time() + 0.2)))) == 6
    found = worker.usage().host_load
    assert other.usage().host_load is None
    if Path("/proc/stat").exists():
        assert found
        assert found.seconds >= 0.12
        assert found.own_s >= 0
    else:
        assert found is None


def test_copies_to_a_gpu_are_those_of_measured_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What warm-up copied is not part of what a worker says of its copies; who copies nothing says nothing."""
    seen = iter([(3, 3_000_000), (7, 11_000_000)])  # before the measured requests, and after them

    class Copying:
        size = 0
        copied = property(lambda _: next(seen))
        register = close = lambda *_: None

    assert opened(fake_task(requests=2)).usage().copied is None
    monkeypatch.setattr(encoder, "shared_region", lambda *_, **__: Copying())
    worker = opened(replace(fake_task(requests=2), region="r"))
    list(worker.run(time.time()))
    assert worker.usage().copied == CopyCost(requests=4, wall_s=pytest.approx(0.008))
