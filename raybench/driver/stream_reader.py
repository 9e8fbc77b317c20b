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
from raybench.inputs.dataset import StoredShard, StreamedShard
from raybench.inputs.memory_budget import READ_AHEAD
from raybench.inputs.source import BoundSource
from raybench.worker.feed import RequestItems, hashed

_TIMEOUT_S = 50.0


@ray.remote(num_cpus=0, max_restarts=0)
class _Reader:
    def __init__(self, shard: StreamedShard, cell: Cell) -> None:
        self._shard, self._cell = shard, cell
        self._source: BoundSource = ray.get(shard.source)

    def items(self, payload: int) -> RequestItems:
        return hashed(payload, self._source.batch(self._shard.numbers(payload, self._cell.load.batch_size)))


def read_ahead(shard: StreamedShard, cell: Cell) -> Iterator[RequestItems]:
    """The requests of a shard, over and over, by a process on this node that is some ahead; raises ClientError."""
    reader: Any = _Reader.options(**on(here())).remote(shard, cell)  # type: ignore[attr-defined]
    coming: deque[Any] = deque()
    for payload in cycle(range(shard.payloads(cell.load.batch_size, len(cell.models)))):
        coming.append(reader.items.remote(payload))
        if len(coming) > READ_AHEAD:
            yield _received(coming.popleft())


def stored(shard: StoredShard, cell: Cell) -> Iterator[RequestItems]:
    """The requests of a shard that lies in memory, once."""
    for payload in range(shard.payloads(cell.load.batch_size, len(cell.models))):
        yield hashed(payload, shard.batch(payload, cell.load.batch_size))


def _received(made: Any) -> RequestItems:
    try:
        return ray.get(made, timeout=_TIMEOUT_S)
    except RayError as error:
        raise ClientError(sentence(error)) from error
