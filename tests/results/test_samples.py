"""Records of requests and what is derived from them: service, response, lag and window."""

import pyarrow as pa
import pytest
from helpers import MS, lanes, sample

from raybench.results import samples
from raybench.results.samples import Window


def test_a_sample_survives_its_table() -> None:
    """A row of the table holds exactly what was observed of a request, unknowns as null."""
    seen = [sample(1, 2), sample(3, 5, due_ms=2.5, worker=2, status="UNAVAILABLE", error="gone", images=8)]
    assert samples.table(seen).to_pylist() == [each._asdict() for each in seen]


def test_no_samples_are_a_table_too() -> None:
    """A trial without requests has a table of the same schema, not an exception."""
    assert samples.table([]).schema == samples.merge([]).schema == samples.SCHEMA
    assert len(samples.merge([samples.table([])])) == 0


def test_merging_is_concatenation() -> None:
    """Chunks of several workers become one table that holds every row of each, labels kept apart."""
    chunks = [[sample(0, 1), sample(1, 2, status="INTERNAL", error="x")], [], [sample(5, 6, worker=1, phase="warmup")]]
    merged = samples.merge([samples.table(chunk) for chunk in chunks])
    assert merged.to_pylist() == [each._asdict() for chunk in chunks for each in chunk]


def test_warm_up_is_kept_apart() -> None:
    """Warm-up requests are on record and never among the measured ones."""
    rows = samples.table([sample(0, 1, phase=samples.WARMUP), sample(1, 2, seq=7)])
    assert samples.measured(rows)["seq"].to_pylist() == [7]


def test_phases_are_told_apart_wherever_they_stand() -> None:
    """A phase is all of its rows, in their order, whether they stand together or others between them."""
    phases = ["warmup", "measured", "ceiling", "measured", "measured", "ceiling"]
    rows = samples.merge([samples.table([sample(0, 1, seq=s, phase=name)]) for s, name in enumerate(phases)])
    assert samples.measured(rows)["seq"].to_pylist() == [1, 3, 4]
    assert samples.measured(rows.slice(3))["seq"].to_pylist() == [3, 4]
    assert samples.ceiling(rows)["seq"].to_pylist() == [2, 5]
    assert samples.ceiling(samples.measured(rows))["seq"].to_pylist() == []


def test_only_ok_is_success() -> None:
    """A request succeeded only if its status is OK."""
    rows = samples.table([sample(0, 1, seq=s, status=name) for s, name in enumerate(["OK", "UNKNOWN", "UNAVAILABLE"])])
    assert samples.succeeded(rows)["seq"].to_pylist() == [0]
    assert samples.is_ok(rows).tolist() == [True, False, False]


def test_service_response_and_lag() -> None:
    """Service is done - sent, response done - due, lag sent - due."""
    rows = samples.table([sample(12, 20, due_ms=10), sample(30, 31, due_ms=30)])
    assert samples.service_ns(rows).tolist() == [8 * MS, 1 * MS]
    assert samples.response_ns(rows).tolist() == [10 * MS, 1 * MS]
    assert samples.lag_ns(rows).tolist() == [2 * MS, 0]


@pytest.mark.parametrize("rows", [lanes([(0, 1), (1, 2)]), samples.SCHEMA.empty_table()], ids=["closed", "empty"])
def test_closed_loop_has_neither_response_nor_lag(rows: pa.Table) -> None:
    """Where nothing was due, response and lag are unknown, not zero."""
    assert samples.response_ns(rows) is None
    assert samples.lag_ns(rows) is None


@pytest.mark.parametrize(
    ("spans", "start_ms", "end_ms"),
    [
        ([[(0, 10), (10, 30)]], 10, 30),
        ([[(0, 10), (10, 16), (16, 30)], [(2, 14), (14, 26)]], 14, 26),
    ],
)
def test_the_window_is_when_all_lanes_are_active(spans: list, start_ms: float, end_ms: float) -> None:
    """The window runs from the last lane's first reply to the first lane's last one."""
    window = samples.window(lanes(*spans), workers=1, lanes=len(spans))
    assert window == Window(start_ms * MS, end_ms * MS)
    assert window.seconds == pytest.approx((end_ms - start_ms) / 1e3)


def test_the_window_of_a_queue_has_its_rate() -> None:
    """Of a server that takes 10 ms a request and 4 lanes at once, as few as 4 requests of each give 100 a second.

    Their first ones find a queue that is shorter than it will be: counted from the first send it would be 112.
    """
    done = [[10 * (lane + 1 + 4 * n) for n in range(4)] for lane in range(4)]
    rows = lanes(*(zip([0, *ends], ends, strict=False) for ends in done))
    window = samples.window(rows, workers=1, lanes=4)
    assert window == Window(40 * MS, 130 * MS)
    assert samples.share_in(rows, window).sum() / window.seconds == pytest.approx(100)


def test_lanes_of_two_workers_are_two_lanes() -> None:
    """A lane is one of its worker: lane 0 of two workers counts twice for the window."""
    rows = samples.table([sample(*span, worker=worker) for worker, span in enumerate(((0, 25), (20, 30)))])
    more = samples.table([sample(*span, worker=worker) for worker in (0, 1) for span in ((30, 35), (35, 40))])
    both = pa.concat_tables([rows, more])
    assert samples.window(both, workers=1, lanes=2) == Window(30 * MS, 40 * MS)
    assert samples.window(both, workers=1, lanes=3) is None


@pytest.mark.parametrize(
    "rows", [samples.SCHEMA.empty_table(), lanes([(0, 10)], [(10, 20)]), lanes([(0, 5)], [(9, 12)])]
)
def test_without_a_common_span_there_is_no_window(rows: pa.Table) -> None:
    """Where the lanes were never active together, or nothing was sent, there is no window."""
    assert samples.window(rows, workers=1, lanes=2) is None


def test_a_lane_that_sent_nothing_leaves_no_window() -> None:
    """All lanes means all that were asked for: one that never sent was never active."""
    rows = lanes([(0, 10), (10, 20), (20, 30)])
    assert samples.window(rows, workers=1, lanes=1) == Window(10 * MS, 30 * MS)
    assert samples.window(rows, workers=1, lanes=2) is None


@pytest.mark.parametrize(("requests", "is_there"), [(2, False), (3, True)])
def test_fewer_requests_than_lanes_make_no_window(requests: int, is_there: bool) -> None:
    """One request of two lanes is cut off by the window's edge: its share of the little time in it is no rate."""
    rows = lanes([(0, 10), (10, 30), (30, 50)][:requests], [(0, 20), (20, 40)])
    window = samples.window(rows, workers=1, lanes=2)
    assert (window is not None) == is_there


def test_workers_stamps_come_onto_one_clock() -> None:
    """A worker whose clock is ahead is moved back by its offset: requests at the same time look so."""
    rows = samples.table([sample(0, 10), sample(5000, 5010, worker=1)])
    same = samples.on_one_clock(rows, {0: 0, 1: 5000 * MS})
    assert same["sent_ns"].to_pylist() == [0, 0]
    assert same["done_ns"].to_pylist() == [10 * MS, 10 * MS]
    assert same["due_ns"].null_count == 2
    assert same.schema == samples.SCHEMA


def test_requests_belong_to_the_window_by_their_send() -> None:
    """A request sent inside the window belongs to it whatever it took; one sent before or at its end does not."""
    rows = lanes([(9, 11), (10, 11), (19, 500), (20, 21)])
    assert samples.begun_in(rows, Window(10 * MS, 20 * MS)).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("span", "share"),
    [
        ((10, 20), 1),
        ((12, 14), 1),
        ((5, 15), 0.5),
        ((18, 26), 0.25),
        ((0, 40), 0.25),
        ((0, 10), 0),
        ((0, 5), 0),
        ((25, 30), 0),
    ],
)
def test_a_straddling_request_counts_by_its_share(span: tuple[float, float], share: float) -> None:
    """A request counts for the window by the share of its service time that lies inside."""
    assert samples.share_in(lanes([span]), Window(10 * MS, 20 * MS)).tolist() == [pytest.approx(share)]


def test_the_window_of_an_open_loop_is_of_its_schedule() -> None:
    """In an open loop the window is when every worker had requests due, whatever the lanes did and however late."""
    early = [sample(sent, sent + 500, due_ms=due, lane=lane) for lane, (due, sent) in enumerate([(0, 1), (90, 200)])]
    late = [sample(due, due + 1, due_ms=due, worker=1) for due in (10, 50, 120)]
    rows = samples.table([*early, *late])
    window = samples.window(rows, workers=2, lanes=128)
    assert window == Window(10 * MS, 90 * MS)
    assert samples.ns(rows, "due_ns")[samples.begun_in(rows, window)].tolist() == [10 * MS, 50 * MS]
    assert samples.window(rows, workers=3, lanes=128) is None


def test_a_request_that_was_due_in_the_window_counts_however_late_it_left() -> None:
    """What left late is no less of the trial: else an overloaded server would seem quick."""
    rows = samples.table([sample(due * 3, due * 3 + 1, due_ms=due) for due in range(0, 110, 10)])
    window = samples.window(rows, workers=1, lanes=1)
    assert window == Window(0, 100 * MS)
    assert samples.begun_in(rows, window).tolist() == [True] * 10 + [False]
    assert samples.achieved_rps(rows, window) == pytest.approx(10 / 0.270)  # the last of them left after 270 ms


def test_an_idle_servers_open_loop_achieves_its_schedule() -> None:
    """Where every request leaves when it is due, the achieved rate is the scheduled one."""
    rows = samples.table([sample(due, due + 1, due_ms=due) for due in range(0, 110, 10)])
    assert samples.achieved_rps(rows, samples.window(rows, workers=1, lanes=1)) == pytest.approx(100)


def test_pacing_error_counts_from_a_free_lane() -> None:
    """woke - max(due, lane free): waiting for the lane's last reply is the server's time, the rest the client's."""
    seen = [
        sample(11, 30, due_ms=10, woke_ns=10.5 * MS),  # its lane was free
        sample(33, 40, due_ms=20, woke_ns=32 * MS),  # it was not until 30 ms
        sample(21, 50, due_ms=21, woke_ns=21 * MS, lane=1),
        sample(22, 23, due_ms=22, woke_ns=22 * MS, worker=1),
    ]
    rows = samples.with_lane_free(samples.table(list(reversed(seen))))
    assert samples.pacing_error_ns(rows).tolist() == [0, 0, 2 * MS, 0.5 * MS]
    assert samples.cap_hits(rows) == 1


def test_a_closed_loop_has_no_pacing() -> None:
    """Where nothing was due, neither pacing error nor cap hits are known."""
    rows = samples.with_lane_free(lanes([(0, 1), (1, 2)]))
    assert samples.pacing_error_ns(rows) is None
    assert samples.cap_hits(rows) is None
