"""A run's items as a Ray Dataset, and each worker's shard of them: preloaded, or made while they are sent."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayTaskError

from raybench.config import ConfigError
from raybench.inputs.photos import decodes
from raybench.inputs.source import BoundSource
from raybench.inputs.stored_inputs import StoredInputs
from raybench.inputs.stored_items import SkippedRows
from raybench.inputs.table_inputs import TableInputs
from raybench.inputs.tensors import Batch, concatenated, item_count, items_of, unnested

_BLOCK_ITEMS = 256
_PROBE_FILES = 64
_FETCH_S = 60.0  # of blocks from other nodes
MOST_HASHES = 2**20  # of items of a stream, which then begins again: hashes are kept of all that differ


@dataclass(frozen=True)
class PreloadedShard:
    """A worker's part of a dataset: references to batches."""

    blocks: list[Any]

    def batch(self, payload: int, batch_size: int) -> Batch:
        """The items of a payload."""
        blocks = [unnested(block) for block in ray.get(self.blocks, timeout=_FETCH_S)]
        first, parts = payload * batch_size, []
        for block in blocks:
            count = item_count(block)
            if first < count and first + batch_size > 0:
                parts.append(items_of(block, max(0, first), batch_size + min(0, first)))
            first -= count
        return concatenated(parts)


@dataclass(frozen=True)
class StreamedShard:
    """A worker's part of items that are made while they are sent: the workers share them out by the batch.

    `source` is a reference to a BoundSource, which may name many files.
    """

    source: Any
    count: int
    worker: int
    workers: int

    def payloads(self, batch_size: int, models: int) -> int:
        """How many batches there are until it begins again, as many for each model."""
        return max(1, self.count // (self.workers * batch_size * models)) * models

    def numbers(self, payload: int, batch_size: int) -> np.ndarray:
        """Which items are in a payload, int64 [batch_size]."""
        return np.arange(batch_size) + (payload * self.workers + self.worker) * batch_size

    def batch(self, payload: int, batch_size: int) -> Batch:
        """The items of a payload."""
        source: BoundSource = ray.get(self.source)
        return source.batch(self.numbers(payload, batch_size))

    def expected(self, payload: int, batch_size: int) -> list[Batch] | None:
        """The outputs that an input file expects of the items of a payload; None where it expects none."""
        source: BoundSource = ray.get(self.source)
        return source.answers(self.numbers(payload, batch_size)) if isinstance(source, StoredInputs) else None


@dataclass(frozen=True)
class StoredShard(StreamedShard):
    """A worker's part of items that lie in memory: payload k of all workers has the items from k times its size on."""


@dataclass(frozen=True)
class TableShard:
    """A worker's part of rows of a table that were read before the start: payloads are dealt round robin.

    `rows` is a reference to the rows of `read` payloads, which come again where all workers have more to send.
    """

    source: Any
    rows: Any
    read: int
    count: int
    worker: int
    workers: int

    def payloads(self, models: int) -> int:
        """How many there are, as many for each model; few are sent by several workers."""
        return max(1, self.count // (self.workers * models)) * models

    def batch(self, payload: int, batch_size: int) -> Batch:
        """The items of a payload."""
        source: TableInputs = ray.get(self.source)
        rows: list[Batch] = ray.get(self.rows, timeout=_FETCH_S)
        number = payload * self.workers + self.worker
        return source.completed(rows[number % self.read], np.arange(batch_size) + number * batch_size)


@dataclass(frozen=True)
class StreamedTable:
    """A worker's part of a table that is read while it is sent; the replies that are sampled need their items kept."""

    source: Any
    worker: int
    workers: int
    is_kept: bool

    def batches(self, batch_size: int) -> Iterator[tuple[Batch, SkippedRows]]:
        """The items of one payload after the other, without end, with the rows that were skipped until then.

        Raises ConfigError where a file cannot be read.
        """
        source: TableInputs = ray.get(self.source)
        report = source.report()
        for payload, rows in enumerate(source.endless(batch_size, self.worker, self.workers, report)):
            numbers = np.arange(batch_size) + (payload * self.workers + self.worker) * batch_size
            yield source.completed(rows, numbers), report.skipped()


Shard = PreloadedShard | StreamedShard | TableShard | StreamedTable
Shards = Sequence[Shard]  # one for each worker


def materialized(source: BoundSource, count: int) -> Any:
    """A materialized Ray Dataset of so many items, with a column for each input."""
    rows = _ray_data().range(count, override_num_blocks=max(1, count // _BLOCK_ITEMS))
    return rows.map_batches(_made, fn_kwargs={"source": source}, batch_size=None).materialize()


def preloaded_shards(dataset: Any, workers: int) -> Shards:
    """A dataset dealt to so many workers, as many items to each."""
    return [PreloadedShard(part.to_numpy_refs()) for part in dataset.split(workers, equal=True)]


def streamed_shards(source: BoundSource, workers: int) -> Shards:
    """Items that are made while they are sent, shared out to so many workers."""
    reference, count = ray.put(source), max(MOST_HASHES, source.distinct or 0)
    return [StreamedShard(reference, count, worker, workers) for worker in range(workers)]


def stored_shards(source: BoundSource, count: int, workers: int) -> Shards:
    """So many items of a source that has them in memory, shared out by the batch."""
    reference = ray.put(source)
    return [StoredShard(reference, count, worker, workers) for worker in range(workers)]


@dataclass(frozen=True)
class TableRows:
    """The rows of a table that are sent, read once: a reference to those of each payload, and what was skipped."""

    rows: Any
    count: int
    skipped: SkippedRows

    def shards(self, source: TableInputs, most: int, workers: int) -> Shards:
        """Those of the table; so many where other inputs are made, which then differ though rows come again."""
        reference, count = ray.put(source), max(most, self.count) if source.parts else self.count
        return [TableShard(reference, self.rows, self.count, count, worker, workers) for worker in range(workers)]


def read_rows(source: TableInputs, batch_size: int, most: int) -> TableRows:
    """At most so many payloads of a table, read in a task; raises ConfigError where no row fits."""
    rows, about = ray.remote(max_retries=0, num_returns=2)(_read_rows).remote(source, batch_size, most)
    try:
        count, skipped = ray.get(about)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, ConfigError) else error from error
    return TableRows(rows, count, skipped)


def streamed_table(source: TableInputs, workers: int, *, is_kept: bool) -> Shards:
    """A table that is read while it is sent, dealt to so many workers."""
    reference = ray.put(source)
    return [StreamedTable(reference, worker, workers, is_kept) for worker in range(workers)]


def _read_rows(source: TableInputs, batch_size: int, most: int) -> tuple[list[Batch], tuple[int, SkippedRows]]:
    rows, skipped = source.once(batch_size, most)
    return rows, (len(rows), skipped)


def readable(paths: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The image files that decode and those that do not, tried in Ray Data tasks."""
    tried = _ray_data().from_items([{"path": path} for path in paths]).map_batches(_probe, batch_size=_PROBE_FILES)
    rows = sorted(tried.take_all(), key=lambda row: row["path"])
    return tuple(r["path"] for r in rows if r["decodes"]), tuple(r["path"] for r in rows if not r["decodes"])


def _ray_data() -> Any:
    """Ray Data, imported here: a worker's process has no need of it, and waits a second for it."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its warning that progress bars are off
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray.data


def _probe(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"path": rows["path"], "decodes": np.array([decodes(path) for path in rows["path"]])}


def _made(rows: dict[str, np.ndarray], *, source: BoundSource) -> dict[str, np.ndarray]:
    return dict(source.batch(rows["id"]))
