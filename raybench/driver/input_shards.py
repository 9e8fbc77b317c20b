"""The items of a run: made once, dealt to workers, and made again where a node that held some of them is lost."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from raybench.config import STREAM, Benchmark, ConfigError
from raybench.config.plan import Cell
from raybench.driver import endpoints
from raybench.driver.endpoints import Endpoint, Signatures
from raybench.driver.ray_nodes import alive_ids, while_there_are_cpus
from raybench.inputs.dataset import (
    Shards,
    TableRows,
    materialized,
    preloaded_shards,
    read_rows,
    readable,
    stored_shards,
    streamed_shards,
    streamed_table,
)
from raybench.inputs.memory_budget import items_of_load
from raybench.inputs.source import BoundSource, InputSource
from raybench.inputs.stored_inputs import StoredInputs
from raybench.inputs.stored_items import SkippedRows
from raybench.inputs.table_inputs import TableInputs
from raybench.models.saved_models import Signature

_UNPLANNED_REQUESTS = 16  # of a worker, where a search comes to a size that no load had


class InputShards:
    """What every endpoint of a run is sent; the same items whenever they are made. Needs a Ray that is connected.

    Raises ConfigError where no file can be read, and LostError where no node is left that could make items.
    """

    def __init__(self, benchmark: Benchmark, source: InputSource, signatures: Signatures) -> None:
        self._benchmark = benchmark
        files, self.unreadable = while_there_are_cpus(partial(readable, source.files)) if source.files else ((), ())
        if source.files and not files:
            raise ConfigError(
                f"images is {source.name}; none of its {len(self.unreadable)} files can be read, the first is "
                f"{self.unreadable[0]}: name a folder with photos"
            )
        self._bound = endpoints.bound(source.only(files), signatures, benchmark.seed)
        self.remake()

    @property
    def skipped(self) -> tuple[SkippedRows, ...]:
        """The rows of files that do not fit, each file once; those of a streamed table are known at a trial's end."""
        return tuple(dict.fromkeys(rows for source, size in self._counts for rows in self._skipped(source, size)))

    def skipped_of(self, cell: Cell) -> tuple[SkippedRows, ...]:
        """Those of the files that a cell is sent."""
        size = cell.load.batch_size
        return self._skipped(_sent(self.source_of(cell), size), size)

    def source_of(self, cell: Cell) -> BoundSource:
        """What a cell is sent: its models take the same."""
        return self.source_for(Endpoint(cell.server, cell.models[0], cell.signature))

    def source_for(self, endpoint: Endpoint) -> BoundSource:
        return self._bound[endpoint]

    def signatures_of(self, cell: Cell) -> tuple[Signature, ...]:
        """What each model of a cell takes."""
        return tuple(self.source_for(Endpoint(cell.server, name, cell.signature)).signature for name in cell.models)

    def shards_of(self, cell: Cell) -> Shards:
        """A shard for each worker of a cell."""
        size, workers = cell.load.batch_size, cell.load.workers
        source = _sent(self.source_of(cell), size)
        if (source, size, workers) not in self._shards:
            self._shards[source, size, workers] = self._dealt(source, size, workers)
        return self._shards[source, size, workers]

    def are_whole(self) -> bool:
        """Whether every node is there that was when items were made."""
        return self._nodes <= alive_ids()

    def remake(self) -> None:
        """Make the items, and deal them when they are asked for.

        Ray would make lost ones again by itself, but only with a free CPU, and workers that wait for them may hold all.
        """
        self._shards: dict[tuple[BoundSource, int, int], Shards] = {}
        self._datasets: dict[BoundSource, Any] = {}
        self._rows: dict[tuple[TableInputs, int], TableRows] = {}
        self._counts = self._items_of_sources()
        for (source, size), count in self._counts.items() if self._benchmark.feed != STREAM else ():
            if isinstance(source, TableInputs):
                self._rows[source, size] = while_there_are_cpus(partial(read_rows, source, size, count // size))
        for source, count in _largest(self._counts).items() if self._benchmark.feed != STREAM else ():
            self._datasets[source] = while_there_are_cpus(partial(materialized, source, count))
        self._nodes = alive_ids()

    def _items_of_sources(self) -> Mapping[tuple[BoundSource, int], int]:
        """How many items are needed of each source, by the size of a request: enough for any of its loads."""
        counts: dict[tuple[BoundSource, int], int] = {}
        for endpoint, bound in self._bound.items():
            for load in endpoints.loads_of(self._benchmark, endpoint):
                source = _sent(bound, load.items)
                distinct = source.distinct if isinstance(source, StoredInputs) else None
                count = items_of_load(self._benchmark, load, source.item_bytes, distinct)
                counts[source, load.items] = max(count, counts.get((source, load.items), 0))
        return counts

    def _skipped(self, source: BoundSource, size: int) -> tuple[SkippedRows, ...]:
        if isinstance(source, StoredInputs):
            return source.skipped
        rows = self._rows.get((source, size)) if isinstance(source, TableInputs) else None
        return (rows.skipped,) if rows and rows.skipped.count else ()

    def _dealt(self, source: BoundSource, size: int, workers: int) -> Shards:
        if isinstance(source, TableInputs):
            if rows := self._rows.get((source, size)):
                return rows.shards(source, self._counts[source, size] // size, workers)
            return streamed_table(source, workers, is_kept=self._benchmark.verify)
        if isinstance(source, StoredInputs) and self._benchmark.feed != STREAM:
            count = self._counts.get((source, size), workers * size * _UNPLANNED_REQUESTS)
            return stored_shards(source, count, workers)
        if source not in self._datasets:
            return streamed_shards(source, workers)
        return while_there_are_cpus(partial(preloaded_shards, self._datasets[source], workers))


def _largest(counts: Mapping[tuple[BoundSource, int], int]) -> Mapping[BoundSource, int]:
    """The most items of each source that is made before the start, as a dataset."""
    most: dict[BoundSource, int] = {}
    for (source, _), count in counts.items():
        if not isinstance(source, StoredInputs | TableInputs):
            most[source] = max(count, most.get(source, 0))
    return most


def _sent(source: BoundSource, batch_size: int) -> BoundSource:
    """The items of a source that requests of so many can hold."""
    return source.alike() if isinstance(source, StoredInputs) and batch_size > 1 else source
