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
    materialized,
    preloaded_shards,
    readable,
    stored_shards,
    streamed_shards,
)
from raybench.inputs.file_inputs import StoredInputs
from raybench.inputs.memory_budget import items_of_load
from raybench.inputs.source import BoundSource, InputSource
from raybench.inputs.stored_items import SkippedRows
from raybench.models.saved_models import Signature


class InputShards:
    """What every endpoint of a run is sent; the same items whenever they are made. Needs a Ray that is connected.

    Raises ConfigError where no file can be read, and LostError where no node is left that could make items.
    """

    def __init__(self, benchmark: Benchmark, source: InputSource, signatures: Signatures) -> None:
        self._benchmark = benchmark
        files, self.unreadable = while_there_are_cpus(partial(readable, source.files)) if source.files else ((), ())
        if source.files and not files:
            raise ConfigError(
                f"images is {source.name}; none of its {len(self.unreadable)} files can be read, such as "
                f"{self.unreadable[0]}: name a folder with photos"
            )
        self._bound = endpoints.bound(source.only(files), signatures, benchmark.seed)
        self.remake()

    @property
    def skipped(self) -> tuple[SkippedRows, ...]:
        """The rows of files that do not fit, each file once."""
        loads = [(self.source_for(e), load) for e in self._bound for load in endpoints.loads_of(self._benchmark, e)]
        sent = [_sent(source, load.items) for source, load in loads]
        return tuple(dict.fromkeys(rows for each in sent if isinstance(each, StoredInputs) for rows in each.skipped))

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
        source, workers = _sent(self.source_of(cell), cell.load.batch_size), cell.load.workers
        if (source, workers) not in self._shards:
            self._shards[source, workers] = self._dealt(source, workers)
        return self._shards[source, workers]

    def are_whole(self) -> bool:
        """Whether every node is there that was when items were made."""
        return self._nodes <= alive_ids()

    def remake(self) -> None:
        """Make the items, and deal them when they are asked for.

        Ray would make lost ones again by itself, but only with a free CPU, and workers that wait for them may hold all.
        """
        self._shards: dict[tuple[BoundSource, int], Shards] = {}
        self._datasets: dict[BoundSource, Any] = {}
        self._counts: Mapping[BoundSource, int] = {}
        if self._benchmark.feed != STREAM:
            self._counts = self._items_of_sources()
            for source, count in self._counts.items():
                if not isinstance(source, StoredInputs):
                    self._datasets[source] = while_there_are_cpus(partial(materialized, source, count))
        self._nodes = alive_ids()

    def _items_of_sources(self) -> Mapping[BoundSource, int]:
        """How many items are made of each source: enough for any of its loads."""
        counts: dict[BoundSource, int] = {}
        for endpoint, bound in self._bound.items():
            for load in endpoints.loads_of(self._benchmark, endpoint):
                source = _sent(bound, load.items)
                distinct = source.distinct if isinstance(source, StoredInputs) else None
                count = items_of_load(self._benchmark, load, source.item_bytes, distinct)
                counts[source] = max(count, counts.get(source, 0))
        return counts

    def _dealt(self, source: BoundSource, workers: int) -> Shards:
        if source not in self._counts:
            return streamed_shards(source, workers)
        if isinstance(source, StoredInputs):
            return stored_shards(source, self._counts[source], workers)
        return while_there_are_cpus(partial(preloaded_shards, self._datasets[source], workers))


def _sent(source: BoundSource, batch_size: int) -> BoundSource:
    """The items of a source that requests of so many can hold."""
    return source.alike() if isinstance(source, StoredInputs) and batch_size > 1 else source
