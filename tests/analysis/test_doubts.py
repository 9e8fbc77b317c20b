"""Doubts: why a number may not be trusted."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import MS, OPEN, doubt_codes, lanes, trial, trusted
from record_builders import load, worker_facts

from raybench.analysis import by_node
from raybench.analysis.doubts import doubts_about, with_doubts
from raybench.analysis.latency import Latency, latency_of
from raybench.analysis.throughput import Requests, Throughput
from raybench.results import samples

PAYLOAD = trusted().payload


def ceiling(headroom: float) -> dict:
    """What a trial has whose client could do so many times as much."""
    return {"ceiling": Throughput(requests_per_s=100.0, inferences_per_s=100.0), "headroom": headroom}


def late(share: int) -> Latency | None:
    """A pacing error whose p99 is so many hundredths of the service p99 of a trusted trial."""
    return latency_of(np.arange(1, 10_001) * MS * share / 100)


def fed(share: float) -> dict:
    """What a trial has whose lanes waited for images for this share of their time."""
    return {"feed_wait_share": share, "feed_wait_ms": latency_of(np.arange(1, 10_001) * MS)}


def answered(rps: float) -> dict:
    """What an open loop has of which so many of 100 requests a second were answered."""
    rate = Throughput(requests_per_s=rps, inferences_per_s=rps)
    return {"load": load(**OPEN), "achieved_rps": 100.0, "throughput": rate}


ON_ONE = by_node.NodeLoad(node_id="one", node="host-1", workers=(0,), requests_per_s=1.0, inferences_per_s=1.0)
APART = by_node.NodeBreakdown(nodes=2, server_node_id="other", loads=(ON_ONE,))
ONE_FAILED = Requests(attempted=100, succeeded=99, failed=1, errors={"UNAVAILABLE": 1}, first_error="gone\naway")


def test_a_trial_that_can_be_trusted_is_not_doubted() -> None:
    """Nothing is doubted where nothing is wrong: a doubt that is always there is not read."""
    assert doubt_codes(trusted()) == set()


@pytest.mark.parametrize(
    ("code", "fine", "doubtful"),
    [
        ("errors", {"requests": trusted().requests}, {"requests": ONE_FAILED}),
        ("uneven_workers", {"job_s": 12.5}, {"job_s": 12.6}),
        ("few_payloads", {"payload": replace(PAYLOAD, distinct=50)}, {"payload": replace(PAYLOAD, distinct=49)}),
        (
            "jpeg_noise",
            {"payload": replace(PAYLOAD, encoding="jpeg q90")},
            {"payload": replace(PAYLOAD, encoding="jpeg q90", source="noise")},
        ),
        (
            "assumed_range",
            {"payload": replace(PAYLOAD, encoding="float32 NHWC 0 to 1")},
            {"payload": replace(PAYLOAD, encoding="float32 NHWC, assumed 0 to 255")},
        ),
        (
            "skipped_rows",
            {"payload": replace(PAYLOAD, skipped_rows=())},
            {"payload": replace(PAYLOAD, skipped_rows=("skipped 1 of 9 rows of a.csv: row 3: it has no ids",))},
        ),
        ("no_window", {"window_s": 0.001, "job_s": 0.001}, {"window_s": None}),
        (
            "workers_over_cores",
            {"workers": tuple(map(worker_facts, range(4)))},
            {"workers": tuple(map(worker_facts, range(5)))},
        ),
        (
            "server_beside_workers",
            {"placement": replace(APART, nodes=1, server_node_id="one")},
            {"placement": replace(APART, server_node_id="one")},
        ),
        ("server_beside_workers", {"placement": APART}, {"placement": replace(APART, server_node_id="one")}),
        ("niced_workers", {"workers": (worker_facts(),)}, {"workers": (worker_facts(nice=15),)}),
        ("late_client", {"pacing_error_ms": late(5)}, {"pacing_error_ms": late(6)}),
        (
            "under_rate",
            {"scheduled_rps": 100.0, "achieved_rps": 99.0},
            {"scheduled_rps": 100.0, "achieved_rps": 98.9},
        ),
        ("cap_hit", {"cap_hits": 0}, {"cap_hits": 1}),
        ("backlog", answered(90.0), answered(89.9)),
        ("feed_starved", fed(0.05), fed(0.051)),
        ("near_ceiling", ceiling(1 / 0.67), ceiling(1 / 0.671)),
        ("no_ceiling", {"ceiling_reason": None}, {"ceiling_reason": "Triton has no model that does nothing"}),
        (
            "few_samples",
            {"service_ms": latency_of(np.arange(3688) * MS)},
            {"service_ms": latency_of(np.arange(3687) * MS)},
        ),
    ],
)
def test_a_doubt_begins_beyond_its_limit(code: str, fine: dict, doubtful: dict) -> None:
    """Each doubt arises one step beyond its limit, alone, and not at the limit itself."""
    assert doubt_codes(trusted(**fine)) == set()
    assert doubt_codes(trusted(**doubtful)) == {code}


@pytest.mark.parametrize(("rounds", "expected"), [(1, {"one_round"}), (2, set()), (5, set())])
def test_one_round_is_doubted(rounds: int, expected: set[str]) -> None:
    """A cell that was measured once is doubted: nothing says how far its numbers move."""
    assert doubt_codes(trusted(), rounds=rounds) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"requests": ONE_FAILED},
        {"job_s": 15.0},
        {"payload": replace(PAYLOAD, distinct=1)},
        {"window_s": None},
        {"workers": tuple(map(worker_facts, range(9)))},
        {"workers": (worker_facts(nice=15),)},
        {"service_ms": latency_of(np.arange(200) * MS)},
        {"pacing_error_ms": late(50)},
        {"scheduled_rps": 100.0, "achieved_rps": 50.0},
        {"cap_hits": 7},
        ceiling(1.2),
        fed(0.5),
    ],
)
def test_a_doubt_says_what_why_and_what_to_do(changes: dict) -> None:
    """A doubt is a code, a sentence and a remedy, and its value differs from its limit."""
    (doubt,) = doubts_about(trusted(**changes), rounds=2)
    assert doubt.code
    assert doubt.sentence
    assert doubt.remedy
    assert doubt.value is None or doubt.value != doubt.limit


def test_few_samples_names_the_percentiles_that_are_missing() -> None:
    """Who misses the p99 in the table finds there how many requests it needs."""
    (doubt,) = doubts_about(trusted(service_ms=latency_of(np.arange(200) * MS)), rounds=2)
    assert "p99 needs 368 requests, p99.9 3688; the window had 200" in doubt.sentence
    assert "p95" not in doubt.sentence


def test_the_errors_are_named() -> None:
    """The doubt about failed requests says how many of how many, and with which status."""
    (doubt,) = doubts_about(trusted(requests=ONE_FAILED), rounds=2)
    assert "1 of 100" in doubt.sentence
    assert "1 UNAVAILABLE; the first: gone away" in doubt.sentence
    assert doubt.value == pytest.approx(0.01)


def test_a_full_server_is_not_the_clients_fault() -> None:
    """Where all lanes waited for the server, the report says that the server is overloaded, not the client."""
    full = trusted(cap_hits=7, scheduled_rps=100.0, achieved_rps=50.0)
    remedies = {doubt.code: f"{doubt.sentence}; {doubt.remedy}" for doubt in doubts_about(full, rounds=2)}
    assert "overloaded: 7 of 100 were due" in remedies["cap_hit"]
    assert "the server, not the client" in remedies["cap_hit"]
    assert "lower --request-rate" in remedies["under_rate"]
    (slow,) = doubts_about(replace(full, cap_hits=0), rounds=2)
    assert "more workers" in slow.remedy


def test_lanes_of_an_open_loop_may_rest() -> None:
    """A job that outlasts the schedule is a queue that was worked off, not workers that ended early."""
    assert doubt_codes(trusted(job_s=20.0, load=load(**OPEN))) == set()


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [(["host-1"], {"workers_over_cores"}), (["host-1", "host-2"], set()), (["host-1", "host-1", "host-2"], set())],
)
def test_workers_are_compared_with_the_cores_of_their_host(nodes: list[str], expected: set[str]) -> None:
    """Too many workers are doubted only where they share the cores of one host."""
    workers = tuple(worker_facts(i, node=nodes[i % len(nodes)]) for i in range(6))
    assert doubt_codes(trusted(workers=workers)) == expected


@pytest.mark.parametrize(("workers", "expected"), [(2, set()), (3, {"workers_over_cores"})])
def test_reading_takes_cores_too(workers: int, expected: set[str]) -> None:
    """Where images are streamed, a worker and the process that reads for it are two on the cores of their host."""
    seen = trusted(workers=tuple(map(worker_facts, range(workers))), load=load(feed="stream"))
    assert doubt_codes(seen) == expected
    assert [doubt.value for doubt in doubts_about(seen, rounds=2)] == [6 for _ in expected]


def test_a_starved_trial_does_not_blame_the_server() -> None:
    """Where lanes waited for images, a cap that was hit and a rate that was missed are not put on the server."""
    starved = trusted(**fed(0.5), cap_hits=7, scheduled_rps=100.0, achieved_rps=50.0)
    said = {doubt.code: f"{doubt.sentence}; {doubt.remedy}" for doubt in doubts_about(starved, rounds=2)}
    assert set(said) == {"feed_starved", "cap_hit", "under_rate"}
    assert "50% of their time" in said["feed_starved"]
    assert "overloaded" not in said["cap_hit"]
    assert all("--feed preload" in text for text in said.values())


def test_a_trial_that_sent_nothing_has_its_reason_and_no_doubts() -> None:
    """There is no number to doubt where nothing was sent."""
    assert doubt_codes(trial(samples.SCHEMA.empty_table(), workers=(), status="skipped"), rounds=1) == set()


def test_lanes_that_never_met_are_doubted() -> None:
    """Where no window exists the report says why there is neither throughput nor percentile."""
    apart = trial(lanes([(0, 10)], [(20, 30)]))
    assert apart.throughput is None
    assert "no_window" in doubt_codes(apart)


def test_rounds_are_counted_per_cell() -> None:
    """A cell that was measured twice is not doubted for one round because another was measured once."""
    trials = [trusted(cell="a", round=1), trusted(cell="b", round=1), trusted(cell="a", round=2)]
    found = with_doubts(trials)
    assert [{doubt.code for doubt in each.doubts} for each in found] == [set(), {"one_round"}, set()]


@pytest.mark.parametrize(("transport", "is_advised"), [("grpc", True), ("shared memory", False)])
def test_near_the_ceiling_the_remedy_raises_it(transport: str, is_advised: bool) -> None:
    """The remedy for a client that is the limit is more of it, and shared memory where there is none yet."""
    asked = load(transport=transport)
    (doubt,) = doubts_about(trusted(load=asked, **ceiling(1.25)), rounds=2)
    assert "80% of the 100 images/s" in doubt.sentence
    assert "more workers or hosts" in doubt.remedy
    assert ("--shared-memory system" in doubt.remedy) is is_advised


@pytest.mark.parametrize(
    ("is_own_ray", "remedy"), [(True, "start raybench itself without nice"), (False, "that cluster")]
)
def test_niced_workers_are_blamed_on_who_started_their_ray(is_own_ray: bool, remedy: str) -> None:
    """A Ray that raybench started inherits its niceness: the remedy is about the command, not about a cluster."""
    niced = trusted(workers=(worker_facts(nice=10),))
    (doubt,) = doubts_about(niced, rounds=2, is_own_ray=is_own_ray)
    assert (doubt.code, remedy in doubt.remedy) == ("niced_workers", True)


FAILED = Requests(attempted=9, succeeded=0, failed=9, errors={"UNAVAILABLE": 9}, first_error="gone")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed"},
        {"requests": FAILED},
        {"requests": FAILED, "service_ms": None, "window_s": 1.0, "throughput": None},
    ],
)
def test_a_row_without_a_number_has_no_doubt(changes: dict) -> None:
    """A trial that failed, or in which nothing succeeded, shows no number, so there is nothing to doubt in its row."""
    much = {"job_s": 99.0, "cap_hits": 7, "payload": replace(PAYLOAD, distinct=1), **fed(0.5)}
    assert len(doubt_codes(trusted(**much), rounds=1)) > 3
    assert doubt_codes(trusted(**much, **changes), rounds=1) == set()


def test_the_doubts_about_a_row_fit_a_line() -> None:
    """Each sentence is short enough to be read at once, names no row and needs no scientific notation."""
    rates = {"scheduled_rps": 123_456.0, "achieved_rps": 50_123.4, "cap_hits": 7}
    busy = Throughput(requests_per_s=1e5, inferences_per_s=1_234_567.0)
    found = doubts_about(trusted(**rates, ceiling=busy, headroom=1.1, **fed(0.5), pacing_error_ms=late(50)), rounds=1)
    assert {"under_rate", "cap_hit", "near_ceiling", "feed_starved", "one_round"} <= {each.code for each in found}
    for each in found:
        assert len(each.sentence) <= 110, each.sentence
        assert "e+" not in each.sentence
        assert "triton" not in each.sentence
