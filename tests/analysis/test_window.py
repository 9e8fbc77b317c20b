"""The window of a trial: which requests count, by how much, and how late the client was."""

import pyarrow as pa
import pytest
from helpers import MS, lanes, sample

from raybench.analysis.window import (
    Window,
    achieved_rps,
    begun_in,
    cap_hits,
    pacing_error_ns,
    share_in,
    window,
    with_lane_free,
)
from raybench.results import samples


@pytest.mark.parametrize(
    ("spans", "start_ms", "end_ms"),
    [
        ([[(0, 10), (10, 30)]], 10, 30),
        ([[(0, 10), (10, 16), (16, 30)], [(2, 14), (14, 26)]], 14, 26),
    ],
)
def test_the_window_is_when_all_lanes_are_active(spans: list, start_ms: float, end_ms: float) -> None:
    """The window runs from the last lane's first reply to the first lane's last one."""
    span = window(lanes(*spans), workers=1, lanes=len(spans))
    assert span == Window(start_ms * MS, end_ms * MS)
    assert span.seconds == pytest.approx((end_ms - start_ms) / 1e3)


def test_the_window_of_a_queue_has_its_rate() -> None:
    """Of a server that takes 10 ms a request and 4 lanes at once, as few as 4 requests of each give 100 a second.

    Their first ones find a queue that is shorter than it will be: counted from the first send it would be 112.
    """
    done = [[10 * (lane + 1 + 4 * n) for n in range(4)] for lane in range(4)]
    rows = lanes(*(zip([0, *ends], ends, strict=False) for ends in done))
    span = window(rows, workers=1, lanes=4)
    assert span == Window(40 * MS, 130 * MS)
    assert share_in(rows, span).sum() / span.seconds == pytest.approx(100)


def test_lanes_of_two_workers_are_two_lanes() -> None:
    """A lane is one of its worker: lane 0 of two workers counts twice for the window."""
    rows = samples.table([sample(*span, worker=worker) for worker, span in enumerate(((0, 25), (20, 30)))])
    more = samples.table([sample(*span, worker=worker) for worker in (0, 1) for span in ((30, 35), (35, 40))])
    both = pa.concat_tables([rows, more])
    assert window(both, workers=1, lanes=2) == Window(30 * MS, 40 * MS)
    assert window(both, workers=1, lanes=3) is None


@pytest.mark.parametrize(
    "rows", [samples.SCHEMA.empty_table(), lanes([(0, 10)], [(10, 20)]), lanes([(0, 5)], [(9, 12)])]
)
def test_without_a_common_span_there_is_no_window(rows: pa.Table) -> None:
    """Where the lanes were never active together, or nothing was sent, there is no window."""
    assert window(rows, workers=1, lanes=2) is None


def test_a_lane_that_sent_nothing_leaves_no_window() -> None:
    """All lanes means all that were asked for: one that never sent was never active."""
    rows = lanes([(0, 10), (10, 20), (20, 30)])
    assert window(rows, workers=1, lanes=1) == Window(10 * MS, 30 * MS)
    assert window(rows, workers=1, lanes=2) is None


@pytest.mark.parametrize(("requests", "is_there"), [(2, False), (3, True)])
def test_fewer_requests_than_lanes_make_no_window(requests: int, is_there: bool) -> None:
    """One request of two lanes is cut off by the window's edge: its share of the little time in it is no rate."""
    rows = lanes([(0, 10), (10, 30), (30, 50)][:requests], [(0, 20), (20, 40)])
    span = window(rows, workers=1, lanes=2)
    assert (span is not None) == is_there


def test_requests_belong_to_the_window_by_their_send() -> None:
    """A request sent inside the window belongs to it whatever it took; one sent before or at its end does not."""
    rows = lanes([(9, 11), (10, 11), (19, 500), (20, 21)])
    assert begun_in(rows, Window(10 * MS, 20 * MS)).tolist() == [False, True, True, False]


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
    assert share_in(lanes([span]), Window(10 * MS, 20 * MS)).tolist() == [pytest.approx(share)]


def test_the_window_of_an_open_loop_is_of_its_schedule() -> None:
    """In an open loop the window is when every worker had requests due, whatever the lanes did and however late."""
    early = [sample(sent, sent + 500, due_ms=due, lane=lane) for lane, (due, sent) in enumerate([(0, 1), (90, 200)])]
    late = [sample(due, due + 1, due_ms=due, worker=1) for due in (10, 50, 120)]
    rows = samples.table([*early, *late])
    span = window(rows, workers=2, lanes=128)
    assert span == Window(10 * MS, 90 * MS)
    assert samples.ns(rows, "due_ns")[begun_in(rows, span)].tolist() == [10 * MS, 50 * MS]
    assert window(rows, workers=3, lanes=128) is None


def test_a_request_that_was_due_in_the_window_counts_however_late_it_left() -> None:
    """What left late is no less of the trial: else an overloaded server would seem quick."""
    rows = samples.table([sample(due * 3, due * 3 + 1, due_ms=due) for due in range(0, 110, 10)])
    span = window(rows, workers=1, lanes=1)
    assert span == Window(0, 100 * MS)
    assert begun_in(rows, span).tolist() == [True] * 10 + [False]
    assert achieved_rps(rows, span) == pytest.approx(10 / 0.270)  # the last of them left after 270 ms


def test_an_idle_servers_open_loop_achieves_its_schedule() -> None:
    """Where every request leaves when it is due, the achieved rate is the scheduled one."""
    rows = samples.table([sample(due, due + 1, due_ms=due) for due in range(0, 110, 10)])
    assert achieved_rps(rows, window(rows, workers=1, lanes=1)) == pytest.approx(100)


def test_pacing_error_counts_from_a_free_lane() -> None:
    """woke - max(due, lane free): waiting for the lane's last reply is the server's time, the rest the client's."""
    seen = [
        sample(11, 30, due_ms=10, woke_ns=10.5 * MS),  # its lane was free
        sample(33, 40, due_ms=20, woke_ns=32 * MS),  # it was not until 30 ms
        sample(21, 50, due_ms=21, woke_ns=21 * MS, lane=1),
        sample(22, 23, due_ms=22, woke_ns=22 * MS, worker=1),
    ]
    rows = with_lane_free(samples.table(list(reversed(seen))))
    assert pacing_error_ns(rows).tolist() == [0, 0, 2 * MS, 0.5 * MS]
    assert cap_hits(rows) == 1


def test_a_closed_loop_has_no_pacing() -> None:
    """Where nothing was due, neither pacing error nor cap hits are known."""
    rows = with_lane_free(lanes([(0, 1), (1, 2)]))
    assert pacing_error_ns(rows) is None
    assert cap_hits(rows) is None
