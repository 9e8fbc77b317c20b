"""What each item costs the client: bytes on the wire, and CPU time; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

import pyarrow as pa
import pyarrow.compute as pc

from raybench.config import IN_MEMORY, IN_PROCESS
from raybench.results import samples
from raybench.results.records import ConversionCost, TrialRecord, WorkerRecord


@dataclass(frozen=True, kw_only=True)
class ClientCost:
    """Means per item; None is not known.

    Bytes are those of requests and of successful replies, without headers, framing, encryption and what lies in shared
    memory; in process nothing travels. Encoding and decoding are CPU milliseconds of the thread that did it, sending
    those of the whole worker while requests were sent.
    """

    request_bytes_per_item: float | None
    reply_bytes_per_item: float | None
    encode_ms_per_item: float | None
    send_ms_per_item: float | None
    decode_ms_per_item: float | None


def client_cost(record: TrialRecord, measured: pa.Table) -> ClientCost | None:
    """What each item of a trial's measured requests cost its workers; None where none was sent."""
    if not record.workers or len(measured) == 0:
        return None
    encoded = [worker.encoded for worker in record.workers if worker.encoded]
    decoded = [worker.decoded for worker in record.workers if worker.decoded]
    has_wire = record.load.transport != IN_PROCESS
    return ClientCost(
        request_bytes_per_item=_request_bytes(record.load.transport, encoded, measured) if has_wire else None,
        reply_bytes_per_item=_per_item(samples.succeeded(measured), "received_bytes") if has_wire else None,
        encode_ms_per_item=_ms(encoded),
        send_ms_per_item=_send_ms(record.workers, measured) if has_wire else None,
        decode_ms_per_item=_ms(decoded),
    )


def client_copy_ms(workers: Iterable[WorkerRecord]) -> float | None:
    """The mean part of a request's service time in which its client copied inputs to a GPU; None where none did."""
    copies = [worker.copied for worker in workers if worker.copied]
    requests = sum(each.requests for each in copies)
    return sum(each.wall_s for each in copies) * 1e3 / requests if requests else None


def mean_cost(rounds: Iterable[ClientCost | None]) -> ClientCost | None:
    """Means over the rounds that know a value; None where no round has any."""
    known = [each for each in rounds if each]
    names = [each.name for each in fields(ClientCost)]
    return ClientCost(**{name: _mean(getattr(each, name) for each in known) for name in names}) if known else None


def _request_bytes(transport: str, encoded: Sequence[ConversionCost], measured: pa.Table) -> float | None:
    """As encoded, without what lies in shared memory; older folders have the size of both together alone."""
    if encoded:
        return sum(each.body_bytes for each in encoded) / sum(each.items for each in encoded)
    return None if transport in IN_MEMORY else _per_item(measured, "sent_bytes")


def _per_item(rows: pa.Table, column: str) -> float | None:
    items = pc.sum(rows["items"]).as_py()
    return pc.sum(rows[column]).as_py() / items if items else None


def _send_ms(workers: Sequence[WorkerRecord], measured: pa.Table) -> float | None:
    """None where a worker was lost, with what it used."""
    items, spent_s = pc.sum(measured["items"]).as_py(), [worker.cpu_s for worker in workers]
    known = [each for each in spent_s if each is not None]
    return sum(known) * 1e3 / items if items and sum(known) and len(known) == len(spent_s) else None


def _ms(costs: Sequence[ConversionCost]) -> float | None:
    """None too where it took less than the clock can tell."""
    spent_s = sum(each.cpu_s for each in costs)
    return spent_s * 1e3 / sum(each.items for each in costs) if spent_s else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
