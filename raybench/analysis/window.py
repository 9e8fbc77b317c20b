"""The samples of a trial on one clock -> the window in which its load was whole, and the rates inside it; pure."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.results import samples

_NEVER = np.iinfo(np.int64).min
_EDGE_SHARE = 20  # an edge of an open loop's window is a twentieth of it


@dataclass(frozen=True)
class Counted:
    """How much of each request counts for a rate, float [n] in 0..1, and over how many seconds."""

    share: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Window:
    """The span in which every lane was active, or in an open loop every worker had requests due; ns."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


def window(rows: pa.Table, *, workers: int, lanes: int) -> Window | None:
    """From the last lane's first reply to the first lane's last reply, of measured samples.

    Until each lane has had a reply the server's queue still grows: those first requests wait for less than all others.
    None where fewer requests than lanes begin in it: they are mostly cut off by its edges, and give no rate. In an open
    loop from the last worker's first due time to the first worker's last one: lanes may have nothing to do. None, too,
    where that is empty, or where fewer than `lanes` lanes, or `workers` workers, sent anything.
    """
    if not samples.is_closed(rows):
        return _overlap(rows, ["worker"], "due_ns", "due_ns", parts=workers)
    span = _overlap(rows, ["worker", "lane"], "done_ns", "done_ns", parts=lanes)
    return span if span and np.count_nonzero(begun_in(rows, span)) >= lanes else None


def _overlap(rows: pa.Table, keys: list[str], first: str, last: str, *, parts: int) -> Window | None:
    spans = rows.group_by(keys).aggregate([(first, "min"), (last, "max")])
    if len(spans) == 0 or len(spans) < parts:
        return None
    start, end = pc.max(spans[f"{first}_min"]).as_py(), pc.min(spans[f"{last}_max"]).as_py()
    return Window(start, end) if end > start else None


def gate_skew_ms(rows: pa.Table) -> float | None:
    """How long after the first worker the last one began, in closed loop; None with one worker, or none.

    In an open loop the schedule is common, and says when each begins.
    """
    if samples.is_closed(rows) and len(rows):
        first = rows.group_by("worker").aggregate([("woke_ns", "min")])["woke_ns_min"]
        return float(pc.max(first).as_py() - pc.min(first).as_py()) / 1e6 if len(first) > 1 else None
    return None


def begun_in(rows: pa.Table, span: Window) -> np.ndarray:
    """Which requests were sent, or in an open loop due, inside a window, bool [n].

    Choosing by the begin does not favour short ones; what was due inside counts however late it left.
    """
    begun = begun_ns(rows)
    return (begun >= span.start_ns) & (begun < span.end_ns)


def begun_ns(rows: pa.Table) -> np.ndarray:
    """When each request was sent, or in an open loop due, int64 [n]."""
    return samples.ns(rows, "sent_ns" if samples.is_closed(rows) else "due_ns")


def achieved_rps(rows: pa.Table, span: Window) -> float:
    """Requests per second of the window, failed ones too.

    In an open loop those that were due in it, per second until the last of them had left.
    """
    if samples.is_closed(rows):
        return float(share_in(rows, span).sum() / span.seconds)
    due = begun_in(rows, span)
    last = int(samples.ns(rows, "sent_ns")[due].max())
    return np.count_nonzero(due) / Window(span.start_ns, max(last, span.end_ns)).seconds


def counted_in(rows: pa.Table, span: Window) -> Counted | None:
    """What counts for the throughput of a window; None where an open loop had replies for too short a time.

    In a closed loop as much is in flight at the start of the window as at its end: each request counts by its share.
    """
    return Counted(share_in(rows, span), span.seconds) if samples.is_closed(rows) else _replies_in(rows, span)


def _replies_in(rows: pa.Table, due: Window) -> Counted | None:
    """Replies of an open loop from the first one to the last due time, or until the last late request had left.

    An open loop begins with nothing in flight and ends with a queue: shares of it would be more than the server did.
    Replies come in bursts, as many as it serves at once, so each edge is ramped over whole periods of them: over one a
    burst counts the same wherever it falls (a box as long as a period sums a periodic train to its mean).
    """
    done, sent, is_inside = samples.ns(rows, "done_ns"), samples.ns(rows, "sent_ns"), begun_ns(rows) >= due.start_ns
    start, end = int(done[is_inside].min()), max(due.end_ns, _last_sent_ns(rows))
    replies = np.count_nonzero((done > start) & (done <= end))
    if replies < 2:
        return None
    period = max(int((done - sent).min()), (end - start) / replies)
    edge = period * max(1, int((end - start) / _EDGE_SHARE / period))
    if 2 * edge > end - start:
        return None
    return Counted(np.clip(np.minimum(done - start, end - done) / edge, 0, 1), (end - start - edge) / 1e9)


def _last_sent_ns(rows: pa.Table) -> int:
    """When the first of the workers had sent its last request: until then all of them loaded the server."""
    return int(pc.min(rows.group_by("worker").aggregate([("sent_ns", "max")])["sent_ns_max"]).as_py())


def share_in(rows: pa.Table, span: Window) -> np.ndarray:
    """The share of each request's service time that lies inside a window, float [n] in 0..1.

    A request that straddles an edge counts by its share: whole counts would lose up to one request per lane.
    """
    sent, done = samples.ns(rows, "sent_ns"), samples.ns(rows, "done_ns")
    inside = np.minimum(done, span.end_ns) - np.maximum(sent, span.start_ns)
    return np.clip(inside, 0, None) / np.maximum(done - sent, 1)


def with_lane_free(rows: pa.Table) -> pa.Table:
    """Samples with a column `free_ns`: when the lane's request before was done; the least int64 without one."""
    lane = _lane_numbers(rows)
    order = np.lexsort((samples.ns(rows, "sent_ns"), lane))
    before, after = order[:-1], order[1:]
    done = np.where(lane[before] == lane[after], samples.ns(rows, "done_ns")[before], _NEVER)
    free = np.full(len(rows), _NEVER)
    free[after] = done
    return rows.append_column("free_ns", pa.array(free))


def _lane_numbers(rows: pa.Table) -> np.ndarray:
    """A number for each lane of each worker, int [n], as small as it can be: numpy sorts 16 bits in linear time."""
    worker, lane = rows["worker"].to_numpy(), rows["lane"].to_numpy()
    numbers = worker * (lane.max(initial=0) + 1) + lane
    return numbers.astype(np.min_scalar_type(numbers.max(initial=0)))


def pacing_error_ns(rows: pa.Table) -> np.ndarray | None:
    """woke − max(due, lane free): how late the client itself was, of samples with_lane_free; None in closed loop."""
    if samples.is_closed(rows):
        return None
    return samples.ns(rows, "woke_ns") - np.maximum(samples.ns(rows, "due_ns"), samples.ns(rows, "free_ns"))


def cap_hits(rows: pa.Table) -> int | None:
    """Due times that found no lane free, of samples with_lane_free; None in closed loop."""
    if samples.is_closed(rows):
        return None
    return int(np.count_nonzero(samples.ns(rows, "due_ns") < samples.ns(rows, "free_ns")))
