"""What a worker says of the cost of encoding its requests and decoding its replies."""

import time
from collections.abc import Iterator
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
from helpers import fake_task, images

from raybench.clients.base import Reply, UnsupportedReplyError
from raybench.clients.fake_client import FakeClient
from raybench.inputs.tensors import Batch
from raybench.worker.feed import RequestItems, hashed
from raybench.worker.load_worker import Worker

BUSY_S = 0.02


def busy() -> None:
    """Use the CPU for BUSY_S in this thread."""
    until_s = time.thread_time() + BUSY_S
    while time.thread_time() < until_s:
        pass


def opened(requests: int = 4) -> Worker:
    worker = Worker(replace(fake_task(requests=requests), stream_bytes=2**20))
    worker.open()
    return worker


def slow_encode(_: FakeClient, __: Batch) -> bytes:
    busy()
    return b"request"


def decoding(monkeypatch: pytest.MonkeyPatch, *faults: Exception | None) -> None:
    """Have each reply take BUSY_S to decode, and then fail as said."""
    left = iter(faults)

    def decode(_: FakeClient, reply: Reply) -> dict[str, np.ndarray]:
        busy()
        if fault := next(left, None):
            raise fault
        return {"count": np.array([reply.body])}

    monkeypatch.setattr(FakeClient, "decode", decode)


def sent(worker: Worker) -> Worker:
    worker.encode([{"images": images(8)}])
    assert sum(len(rows) for rows in worker.run(time.time())) == 4
    return worker


def test_the_cost_of_encoding_is_that_of_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding is measured over every request, with its items and its own bytes."""
    monkeypatch.setattr(FakeClient, "encode", slow_encode)
    cost = opened().encode([{"images": images(8)}]).encoded
    assert cost
    assert (cost.items, cost.body_bytes) == (8, 4 * len(b"request"))
    assert 4 * BUSY_S <= cost.cpu_s < 6 * BUSY_S


def test_the_cost_of_encoding_a_stream_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are encoded beside the lanes cost what they cost, and what other threads compute is not counted."""
    monkeypatch.setattr(FakeClient, "encode", slow_encode)

    def source() -> Iterator[RequestItems]:
        for payload in range(4):
            yield hashed(payload, {"images": images(2)})

    other = Thread(target=lambda: [busy() for _ in range(20)])
    other.start()
    worker = opened()
    worker.stream(source())
    other.join()
    while not (cost := worker.payloads().encoded) or cost.items < 8:
        time.sleep(0.01)
    worker.close()
    assert 4 * BUSY_S <= cost.cpu_s < 6 * BUSY_S


def test_the_cost_of_decoding_is_that_of_replies_that_could_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the time nor the items of a reply that failed to decode are counted."""
    decoding(monkeypatch, KeyError("x"), None, UnsupportedReplyError("a type of tomorrow"), None)
    worker = sent(opened())
    assert len(worker.replies().replies) == 2
    cost = worker.decoded()
    assert cost
    assert (cost.items, cost.body_bytes) == (4, 2 * 8)
    assert 2 * BUSY_S <= cost.cpu_s < 3 * BUSY_S


def test_decoding_costs_nothing_known_where_nothing_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no reply could be read the cost of decoding is not known, and not 0."""
    decoding(monkeypatch, *[KeyError("x")] * 4)
    assert sent(opened()).decoded() is None


def test_replies_are_decoded_once() -> None:
    """The cost of decoding is known where answers are not compared, and is the same however often it is asked for."""
    worker = sent(opened())
    first = worker.decoded()
    assert first
    assert first.items == 8
    assert worker.decoded() == first
