"""What the requests of a trial carried; pure."""

from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from raybench.results.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What was sent: `distinct` items by hash among the `items` sent, None where a worker that was lost took its hashes
    along; mean `bytes` of a request, and by item; `skipped_rows` are those of files that did not fit."""

    source: str
    encoding: str
    bytes: float
    item_bytes: float
    items: int
    distinct: int | None
    skipped_rows: tuple[str, ...] = ()


def payload_of(record: TrialRecord, measured: pa.Table) -> Payload | None:
    """The payload of a trial's measured requests; None where none was sent."""
    if not record.workers or len(measured) == 0:
        return None
    size, hashes = record.load.batch_size, record.item_hashes
    pairs = measured.group_by(["worker", "payload"]).aggregate([]).to_pylist()
    sent = [hashes.get(p["worker"], ())[p["payload"] * size : (p["payload"] + 1) * size] for p in pairs]
    are_known = all(len(each) == size for each in sent)
    sent_bytes, items = pc.sum(measured["sent_bytes"]).as_py(), pc.sum(measured["items"]).as_py()
    return Payload(
        source=record.input.source,
        encoding=record.input.encoding,
        bytes=sent_bytes / len(measured),
        item_bytes=sent_bytes / items,
        items=items,
        distinct=len(set(chain.from_iterable(sent))) if are_known else None,
        skipped_rows=record.input.skipped_rows,
    )
