"""A process beside each worker that makes what it sends next: in the worker itself it would delay the lanes."""

from collections import deque
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import ray
from ray.exceptions import RayError

from raybench.clients.base import ClientError
from raybench.config.plan import Cell
from raybench.driver.ray_errors import sentence
from raybench.driver.ray_nodes import here, on
from raybench.inputs.dataset import MOST_HASHES, StoredShard, StreamedShard, StreamedTable, TableShard
from raybench.inputs.memory_budget import READ_AHEAD
from raybench.inputs.source import BoundSource
from raybench.inputs.stored_items import SkippedRows
from raybench.inputs.tensors import Batch
from raybench.worker.feed import RequestItems, hashed

_TIMEOUT_S = 50.0


@ray.remote(num_cpus=0, max_restarts=0)
class _Reader:
    def __init__(self, shard: StreamedShard | StreamedTable, cell: Cell) -> None:
        self._is_kept = isinstance(shard, StreamedTable) and shard.is_kept and cell.server.kind != "fake"
        self._batches = _batches(shard, cell)

    def items(self, payload: int) -> RequestItems:
        """The next request; it is of this payload."""
        batch, skipped = next(self._batches)
        return hashed(payload, batch, is_kept=self._is_kept)._replace(skipped=skipped)


def read_ahead(shard: StreamedShard | StreamedTable, cell: Cell) -> Iterator[RequestItems]:
    """The requests of a shard, over and over, by a process on this node that is some ahead; raises ClientError."""
    reader: Any = _Reader.options(**on(here())).remote(shard, cell)  # type: ignore[attr-defined]
    coming: deque[Any] = deque()
    for payload in _payloads(shard, cell):
        coming.append(reader.items.remote(payload))
        if len(coming) > READ_AHEAD:
            yield _received(coming.popleft())


def stored(shard: StoredShard | TableShard, cell: Cell) -> Iterator[RequestItems]:
    """The requests of a shard that lies in memory, once."""
    size, models = cell.load.batch_size, len(cell.models)
    count = shard.payloads(models) if isinstance(shard, TableShard) else shard.payloads(size, models)
    for payload in range(count):
        yield hashed(payload, shard.batch(payload, size))


def _payloads(shard: StreamedShard | StreamedTable, cell: Cell) -> Iterator[int]:
    """The numbers of the requests, over and over: their hashes are kept."""
    size, models = cell.load.batch_size, len(cell.models)
    if isinstance(shard, StreamedShard):
        return cycle(range(shard.payloads(size, models)))
    return cycle(range(max(1, MOST_HASHES // (shard.workers * size * models)) * models))


def _batches(shard: StreamedShard | StreamedTable, cell: Cell) -> Iterator[tuple[Batch, SkippedRows | None]]:
    """The items of the requests, in their order, without end; and the rows that were skipped until then."""
    if isinstance(shard, StreamedTable):
        return shard.batches(cell.load.batch_size)
    source: BoundSource = ray.get(shard.source)
    return ((source.batch(shard.numbers(payload, cell.load.batch_size)), None) for payload in _payloads(shard, cell))


def _received(made: Any) -> RequestItems:
    try:
        return ray.get(made, timeout=_TIMEOUT_S)
    except RayError as error:
        raise ClientError(sentence(error)) from error
