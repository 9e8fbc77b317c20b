"""What each item costs the client, by hand."""

from dataclasses import replace
from typing import Any

import pytest
from helpers import lanes, observed, summary, trial
from record_builders import load, worker_facts

from raybench.analysis.client_cost import ClientCost
from raybench.results.records import ConversionCost, CopyCost, WorkerRecord

STEADY = [(i * 10, i * 10 + 10) for i in range(4)]


def worker(number: int = 0, *, encode_s: float = 0.004, decode_s: float | None = 0.001) -> WorkerRecord:
    """One that encoded 8 items into 1200 bytes, and decoded replies to 4 of them if it says how long that took."""
    decoded = None if decode_s is None else ConversionCost(items=4, body_bytes=40, cpu_s=decode_s)
    return worker_facts(number, encoded=ConversionCost(items=8, body_bytes=1200, cpu_s=encode_s), decoded=decoded)


def cost(*workers: WorkerRecord, transport: str = "grpc", **sent: Any) -> ClientCost:
    """Of a trial of four requests of 2 items, each with 300 bytes and a reply of 20."""
    rows = lanes(STEADY, **{"items": 2, "sent_bytes": 300, "received_bytes": 20, **sent})
    found = trial(rows, workers=workers or (worker(),), load=load(transport=transport, batch_size=2)).client_cost
    assert found
    return found


def test_the_cost_of_an_item_by_hand() -> None:
    """Bytes and CPU time are sums over all workers, by the items that they are of."""
    found = cost(worker(0), worker(1, encode_s=0.012, decode_s=0.003))
    assert found == ClientCost(
        request_bytes_per_item=2400 / 16,
        reply_bytes_per_item=80 / 8,
        encode_ms_per_item=16 / 16,
        send_ms_per_item=1000 / 8,
        decode_ms_per_item=4 / 8,
    )


def test_what_lies_in_shared_memory_is_not_on_the_wire() -> None:
    """Inputs in shared memory are no bytes on the wire, whatever samples say of the size of requests."""
    assert cost(transport="shared memory", sent_bytes=10**6).request_bytes_per_item == 150
    older = worker_facts()  # whose encoding was not measured
    for transport in ("shared memory", "cuda shared memory"):
        assert cost(older, transport=transport, sent_bytes=10**6).request_bytes_per_item is None


def test_the_clients_copy_is_a_mean_over_requests() -> None:
    """A request's share of the copies to a GPU is over the requests of all workers that say; without any it is null."""
    workers = [worker_facts(n, copied=CopyCost(requests=n + 1, wall_s=0.004)) for n in (0, 2)]
    assert trial(lanes(STEADY), workers=[*workers, worker_facts(1)]).client_copy_ms == 8 / 4
    assert trial(lanes(STEADY), workers=[worker_facts(copied=CopyCost(requests=0, wall_s=0.0))]).client_copy_ms is None
    assert trial(lanes(STEADY)).client_copy_ms is None


def test_in_process_nothing_travels() -> None:
    """Without a wire there are no bytes on it: they are not known, and not 0; conversions cost what they cost."""
    found = cost(transport="in process")
    assert (found.request_bytes_per_item, found.reply_bytes_per_item) == (None, None)
    assert (found.encode_ms_per_item, found.decode_ms_per_item) == (0.5, 0.25)
    assert found.send_ms_per_item is None  # the worker computes too


def test_a_worker_that_was_lost_leaves_the_cost_of_sending_unknown() -> None:
    """What a lost worker used is not known, and so is the sum."""
    assert cost(worker(0), replace(worker(1), cpu_s=None, lost="killed")).send_ms_per_item is None


def test_replies_of_failures_are_no_replies() -> None:
    """A failed request has no reply: without a success the size of replies is not known, and not 0."""
    assert cost(status="INTERNAL", error="x", received_bytes=0).reply_bytes_per_item is None


def test_where_nothing_was_decoded_its_cost_is_not_known() -> None:
    """A worker without decoded replies takes no part; where no worker has any, null stands in place of 0."""
    assert cost(worker(0), worker(1, decode_s=None)).decode_ms_per_item == 0.25
    assert cost(worker(decode_s=None)).decode_ms_per_item is None
    assert cost(worker(decode_s=0.0)).decode_ms_per_item is None  # less than the clock can tell


@pytest.mark.parametrize(("transport", "request_bytes"), [("grpc", 150.0), ("shared memory", None)])
def test_an_older_folder_has_the_bytes_of_its_samples(transport: str, request_bytes: float | None) -> None:
    """Where encoding was not measured the size of requests is that of the samples, unless shared memory is in it."""
    found = cost(worker_facts(), transport=transport)
    assert found == ClientCost(
        request_bytes_per_item=request_bytes,
        reply_bytes_per_item=10,
        encode_ms_per_item=None,
        send_ms_per_item=500 / 8,
        decode_ms_per_item=None,
    )


def test_a_cell_has_the_means_of_its_rounds() -> None:
    """Each value of a row is a mean over the rounds in which it is known; a trial that sent nothing has none."""
    rounds = [
        observed(lanes(STEADY), round=1, workers=[worker(encode_s=0.004)]),
        observed(lanes(STEADY), round=2, workers=[worker(encode_s=0.008, decode_s=None)]),
    ]
    (cell,) = summary(*rounds).cells
    assert cell.client_cost
    assert cell.client_cost.encode_ms_per_item == pytest.approx(0.75)
    assert cell.client_cost.decode_ms_per_item == 0.25
    unsent = observed(lanes(), status="failed", reason="it ended", workers=[])
    assert summary(unsent).cells[0].client_cost is None


def test_a_round_that_was_cut_short_moves_no_cost() -> None:
    """The means of a row are over whole rounds, as its rates are."""
    whole = observed(lanes(STEADY), round=1, workers=[worker()])
    cut = observed(lanes(STEADY), round=2, workers=[worker(encode_s=0.8)])
    cut = replace(cut, record=replace(cut.record, status="interrupted", reason="from outside"))
    cell = summary(whole, cut).cells[0].client_cost
    assert cell
    assert cell.encode_ms_per_item == 0.5
