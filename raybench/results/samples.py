"""The record of a request, its Arrow schema, and what is derived from it: service, response, lag and window."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.clients.base import OK

WARMUP, MEASURED, CEILING = "warmup", "measured", "ceiling"  # the last: of a model that does nothing
_NEVER = np.iinfo(np.int64).min
_LABEL = pa.dictionary(pa.int32(), pa.string())


class Sample(NamedTuple):
    """One request. Times are ns of one monotonic clock per worker, anchored to the epoch when the worker opened.

    A tuple: it is made between two requests of a lane, and costs a third of what a frozen dataclass does.
    """

    worker: int
    lane: int
    seq: int
    phase: str
    payload: int
    due_ns: int | None  # None in closed loop
    woke_ns: int
    sent_ns: int
    done_ns: int
    items: int
    sent_bytes: int
    received_bytes: int
    status: str
    error: str | None


SCHEMA = pa.schema(
    [
        ("worker", pa.int32()),
        ("lane", pa.int32()),
        ("seq", pa.int64()),
        ("phase", _LABEL),
        ("payload", pa.int32()),
        ("due_ns", pa.int64()),
        ("woke_ns", pa.int64()),
        ("sent_ns", pa.int64()),
        ("done_ns", pa.int64()),
        ("items", pa.int32()),
        ("sent_bytes", pa.int64()),
        ("received_bytes", pa.int64()),
        ("status", _LABEL),
        ("error", _LABEL),
    ]
)


def table(samples: list[Sample]) -> pa.Table:
    """Samples as an Arrow table of SCHEMA."""
    columns = list(zip(*samples, strict=True)) or [()] * len(Sample._fields)
    return pa.table(
        [pa.array(column, type=kind) for column, kind in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA
    )


def merge(tables: list[pa.Table]) -> pa.Table:
    """Tables of several chunks or workers as one; merging is concatenation, nothing is averaged."""
    return pa.concat_tables([SCHEMA.empty_table(), *tables]).unify_dictionaries()


def on_one_clock(samples: pa.Table, offsets_ns: Mapping[int, int]) -> pa.Table:
    """Samples with every stamp on the driver's clock, given how far each worker's is ahead of it."""
    worker = samples["worker"].to_numpy()
    ahead = np.array([offsets_ns.get(i, 0) for i in range(worker.max(initial=0) + 1)], np.int64)[worker]
    for name in ("due_ns", "woke_ns", "sent_ns", "done_ns"):
        index = samples.schema.get_field_index(name)
        samples = samples.set_column(index, SCHEMA.field(name), pc.subtract(samples[name], pa.array(ahead)))
    return samples


def measured(samples: pa.Table) -> pa.Table:
    return _of_phase(samples, MEASURED)


def warmup(samples: pa.Table) -> pa.Table:
    return _of_phase(samples, WARMUP)


def ceiling(samples: pa.Table) -> pa.Table:
    """The requests to a model that does nothing."""
    return _of_phase(samples, CEILING)


def _of_phase(samples: pa.Table, phase: str) -> pa.Table:
    """Where its rows stand together, as those of a trial do, a slice: that copies nothing."""
    chosen = pc.equal(samples["phase"], phase)
    first, count = max(0, pc.index(chosen, True).as_py()), pc.sum(chosen).as_py() or 0
    together = pc.all(chosen.slice(first, count)).as_py()
    return samples.slice(first, count) if together else samples.filter(chosen)


def is_ok(samples: pa.Table) -> np.ndarray:
    """Which requests succeeded, bool [n]."""
    return pc.equal(samples["status"], OK).to_numpy()


def succeeded(samples: pa.Table) -> pa.Table:
    return samples.filter(pc.equal(samples["status"], OK))


def ns(samples: pa.Table, column: str) -> np.ndarray:
    """A column of stamps as int64 [n]."""
    return samples[column].to_numpy()


def service_ns(samples: pa.Table) -> np.ndarray:
    """done − sent: what the server and the wire took."""
    return ns(samples, "done_ns") - ns(samples, "sent_ns")


def response_ns(samples: pa.Table) -> np.ndarray | None:
    """done − due: what a user would have waited; None in closed loop, where nothing is due."""
    return None if is_closed(samples) else ns(samples, "done_ns") - ns(samples, "due_ns")


def lag_ns(samples: pa.Table) -> np.ndarray | None:
    """sent − due: how late the request left; None in closed loop."""
    return None if is_closed(samples) else ns(samples, "sent_ns") - ns(samples, "due_ns")


def with_lane_free(samples: pa.Table) -> pa.Table:
    """Samples with a column `free_ns`: when the lane's request before was done; the least int64 without one."""
    lane = _lane_numbers(samples)
    order = np.lexsort((ns(samples, "sent_ns"), lane))
    before, after = order[:-1], order[1:]
    done = np.where(lane[before] == lane[after], ns(samples, "done_ns")[before], _NEVER)
    free = np.full(len(samples), _NEVER)
    free[after] = done
    return samples.append_column("free_ns", pa.array(free))


def _lane_numbers(samples: pa.Table) -> np.ndarray:
    """A number for each lane of each worker, int [n], as small as it can be: numpy sorts 16 bits in linear time."""
    worker, lane = samples["worker"].to_numpy(), samples["lane"].to_numpy()
    numbers = worker * (lane.max(initial=0) + 1) + lane
    return numbers.astype(np.min_scalar_type(numbers.max(initial=0)))


def pacing_error_ns(samples: pa.Table) -> np.ndarray | None:
    """woke − max(due, lane free): how late the client itself was, of samples with_lane_free; None in closed loop."""
    if is_closed(samples):
        return None
    return ns(samples, "woke_ns") - np.maximum(ns(samples, "due_ns"), ns(samples, "free_ns"))


def feed_wait_ns(samples: pa.Table) -> np.ndarray:
    """sent − woke: how long a lane waited for its next request, where requests are streamed."""
    return ns(samples, "sent_ns") - ns(samples, "woke_ns")


def cap_hits(samples: pa.Table) -> int | None:
    """Due times that found no lane free, of samples with_lane_free; None in closed loop."""
    if is_closed(samples):
        return None
    return int(np.count_nonzero(ns(samples, "due_ns") < ns(samples, "free_ns")))


def is_closed(samples: pa.Table) -> bool:
    """Whether nothing was due, as in a closed loop or without requests."""
    return samples["due_ns"].null_count > 0 or len(samples) == 0


@dataclass(frozen=True)
class Window:
    """The span in which every lane was active, or in an open loop every worker had requests due; ns."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


def window(samples: pa.Table, *, workers: int, lanes: int) -> Window | None:
    """From the last lane's first reply to the first lane's last reply, of measured samples.

    Until each lane has had a reply the server's queue still grows: those first requests wait for less than all others.
    None where fewer requests than lanes begin in it, for they are mostly cut off by its edges, and no rate. In an open
    loop from the last worker's first due time to the first worker's last one: lanes may have nothing to do. None, too,
    where that is empty, or where fewer than `lanes` lanes, or `workers` workers, sent anything.
    """
    if not is_closed(samples):
        return _overlap(samples, ["worker"], "due_ns", "due_ns", parts=workers)
    span = _overlap(samples, ["worker", "lane"], "done_ns", "done_ns", parts=lanes)
    return span if span and np.count_nonzero(begun_in(samples, span)) >= lanes else None


def _overlap(samples: pa.Table, keys: list[str], first: str, last: str, *, parts: int) -> Window | None:
    spans = samples.group_by(keys).aggregate([(first, "min"), (last, "max")])
    if len(spans) == 0 or len(spans) < parts:
        return None
    start, end = pc.max(spans[f"{first}_min"]).as_py(), pc.min(spans[f"{last}_max"]).as_py()
    return Window(start, end) if end > start else None


def gate_skew_ms(samples: pa.Table) -> float | None:
    """How long after the first worker the last one began, in closed loop; None with one worker, or none.

    In an open loop the schedule is common, and says when each begins.
    """
    if is_closed(samples) and len(samples):
        first = samples.group_by("worker").aggregate([("woke_ns", "min")])["woke_ns_min"]
        return float(pc.max(first).as_py() - pc.min(first).as_py()) / 1e6 if len(first) > 1 else None
    return None


def begun_in(samples: pa.Table, span: Window) -> np.ndarray:
    """Which requests were sent, or in an open loop due, inside a window, bool [n].

    Choosing by the begin does not favour short ones; what was due inside counts however late it left.
    """
    begun = begun_ns(samples)
    return (begun >= span.start_ns) & (begun < span.end_ns)


def begun_ns(samples: pa.Table) -> np.ndarray:
    """When each request was sent, or in an open loop due, int64 [n]."""
    return ns(samples, "sent_ns" if is_closed(samples) else "due_ns")


def achieved_rps(samples: pa.Table, span: Window) -> float:
    """Requests per second of the window, failed ones too.

    In an open loop those that were due in it, per second until the last of them had left.
    """
    if is_closed(samples):
        return float(share_in(samples, span).sum() / span.seconds)
    due = begun_in(samples, span)
    last = int(ns(samples, "sent_ns")[due].max())
    return np.count_nonzero(due) / Window(span.start_ns, max(last, span.end_ns)).seconds


def share_in(samples: pa.Table, span: Window) -> np.ndarray:
    """The share of each request's service time that lies inside a window, float [n] in 0..1.

    A request that straddles an edge counts by its share: whole counts would lose up to one request per lane.
    """
    sent, done = ns(samples, "sent_ns"), ns(samples, "done_ns")
    inside = np.minimum(done, span.end_ns) - np.maximum(sent, span.start_ns)
    return np.clip(inside, 0, None) / np.maximum(done - sent, 1)
