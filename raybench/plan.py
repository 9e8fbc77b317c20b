"""A benchmark -> its trials, in the order in which they run; pure."""

import random
from dataclasses import dataclass
from urllib.parse import quote

from raybench.config import Benchmark, ServerSpec


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a cell is driven; counts are totals over all workers."""

    workers: int
    concurrency: int
    batch_size: int
    request_count: int | None
    duration_s: float | None
    warmup_request_count: int
    timeout_s: float

    @property
    def in_flight(self) -> int:
        return self.workers * self.concurrency


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One endpoint under one load: a row of the table."""

    server: ServerSpec
    model: str
    signature: str
    load: Load

    @property
    def id(self) -> str:
        server = self.server.label.replace(" ", "-")
        load = self.load
        signature = quote(self.signature, safe="")  # the id names files
        return f"{server}-{self.model}-{signature}-w{load.workers}-c{load.concurrency}-b{load.batch_size}"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One cell, measured once."""

    cell: Cell
    round: int

    @property
    def id(self) -> str:
        return f"r{self.round}-{self.cell.id}"


def trials(benchmark: Benchmark) -> tuple[Trial, ...]:
    """Every cell once a round; servers in shuffled order, and inside a server its cells, anew in each round.

    The trials of a server that we start stand together: one server runs at a time, so that memory is its own.
    Cells of servers that run already are shuffled among all.
    """
    order = random.Random(benchmark.seed)
    planned = []
    for round_number in range(1, benchmark.rounds + 1):
        groups = [
            order.sample(group, len(group))
            for server in benchmark.servers
            for group in _neighbours(server, [_cell(benchmark, server, model) for model in benchmark.model])
        ]
        ordered = [cell for group in order.sample(groups, len(groups)) for cell in group]
        planned += [Trial(cell=cell, round=round_number) for cell in ordered]
    return tuple(planned)


def _neighbours(server: ServerSpec, cells: list[Cell]) -> list[list[Cell]]:
    """Cells that must run one after the other: all of a server that we start, each alone where a url names it."""
    return [[cell] for cell in cells] if server.url else [cells]


def _cell(b: Benchmark, server: ServerSpec, model: str) -> Cell:
    """TensorFlow in process is one worker with one lane: more would be more processes, not more load."""
    workers, concurrency = (1, 1) if server.kind == "local" else (b.workers, b.concurrency)
    warmup = 2 * workers * concurrency if b.warmup_request_count is None else b.warmup_request_count
    load = Load(
        workers=workers,
        concurrency=concurrency,
        batch_size=b.batch_size,
        request_count=b.request_count,
        duration_s=b.duration,
        warmup_request_count=warmup,
        timeout_s=b.timeout,
    )
    return Cell(server=server, model=model, signature=b.signature, load=load)


def shares(total: int, parts: int) -> list[int]:
    """A total dealt to so many parts, as evenly as whole numbers allow."""
    return [total // parts + (part < total % parts) for part in range(parts)]
