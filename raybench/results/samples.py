"""The record of a request, its Arrow schema, and what is derived from it alone: service, response and lag."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.clients.base import OK

WARMUP, MEASURED, CEILING = "warmup", "measured", "ceiling"  # the last: of a model that does nothing
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
    """Samples of a phase with every stamp on the driver's clock, given how far each worker's is ahead of it.

    Raises ValueError where a request has no stamp, or nothing of what else is known of each.
    """
    _check_whole(samples)
    worker = samples["worker"].to_numpy()
    ahead = np.array([offsets_ns.get(i, 0) for i in range(worker.max(initial=0) + 1)], np.int64)[worker]
    for name in ("due_ns", "woke_ns", "sent_ns", "done_ns"):
        index = samples.schema.get_field_index(name)
        samples = samples.set_column(index, SCHEMA.field(name), pc.subtract_checked(samples[name], pa.array(ahead)))
    return samples


def _check_whole(samples: pa.Table) -> None:
    for name in (each for each in SCHEMA.names if each != "error"):
        missing = samples[name].null_count
        if missing and not (name == "due_ns" and missing == len(samples)):
            raise ValueError(f"{name} is missing in {missing} of {len(samples)} samples")


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


def feed_wait_ns(samples: pa.Table) -> np.ndarray:
    """sent − woke: how long a lane waited for its next request, where requests are streamed."""
    return ns(samples, "sent_ns") - ns(samples, "woke_ns")


def is_closed(samples: pa.Table) -> bool:
    """Whether nothing was due, as in a closed loop or without requests."""
    return samples["due_ns"].null_count > 0 or len(samples) == 0
