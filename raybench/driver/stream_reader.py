"""A process beside each worker that reads what it sends next: in the worker itself it would delay the lanes."""

from collections import deque
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raybench.clients.base import ClientError
from raybench.config.plan import Cell
from raybench.inputs.dataset import Recipe, Streamed
from raybench.worker import feed
from raybench.worker.feed import READ_AHEAD, Batch

_TIMEOUT_S = 50.0


@ray.remote(num_cpus=0, max_restarts=0)
class _Reader:
    def __init__(self, shard: Streamed, cell: Cell) -> None:
        self._shard, self._cell = shard, cell
        self._recipe: Recipe = ray.get(shard.recipe)

    def batch(self, payload: int) -> Batch:
        images = self._recipe.images(self._shard.numbers(payload, self._cell.load.batch_size))
        return feed.batch(payload, images, self._cell.jpeg_quality)


def read(shard: Streamed, cell: Cell) -> Iterator[Batch]:
    """The batches of a shard, over and over, by a process on this node that is some ahead; raises ClientError."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    reader: Any = _Reader.options(scheduling_strategy=here).remote(shard, cell)  # type: ignore[attr-defined]
    coming: deque[Any] = deque()
    for payload in cycle(range(shard.payloads(cell.load.batch_size, len(cell.models)))):
        coming.append(reader.batch.remote(payload))
        if len(coming) > READ_AHEAD:
            yield _got(coming.popleft())


def _got(batch: Any) -> Batch:
    try:
        return ray.get(batch, timeout=_TIMEOUT_S)
    except RayError as error:
        raise ClientError(" ".join(str(getattr(error, "cause", None) or error).split())) from error
