"""A benchmark -> its trials, in the order in which they run; pure."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import quote

from raybench.config import Benchmark, ConfigError, ServerSpec

_START_S, _TRIAL_S = 12.0, 5.0  # of Ray or a server; of the workers of a trial: as seen on two cores


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
    """One endpoint under one load: a row of the table. Requests go round robin over its models, mostly one."""

    server: ServerSpec
    models: tuple[str, ...]
    signature: str
    load: Load

    @property
    def model(self) -> str:
        return "+".join(self.models)

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
            for group in _neighbours(server, _cells(benchmark, server))
        ]
        ordered = [cell for group in order.sample(groups, len(groups)) for cell in group]
        planned += [Trial(cell=cell, round=round_number) for cell in ordered]
    return tuple(planned)


def _neighbours(server: ServerSpec, cells: list[Cell]) -> list[list[Cell]]:
    """Cells that must run one after the other: all of a server that we start, each alone where a url names it."""
    return [[cell] for cell in cells] if server.url else [cells]


def _cells(benchmark: Benchmark, server: ServerSpec) -> list[Cell]:
    """The cells of one server: each load with each of its models, or with all at once where they are mixed.

    Loads that come to the same, such as other numbers of workers for TensorFlow in process, are one cell. Raises
    ConfigError where two differ in what their name does not tell.
    """
    cells = dict.fromkeys(
        _cell(variant, server, models)
        for variant in benchmark.variants
        for models in ([variant.model] if variant.mix else [(model,) for model in variant.model])
    )
    for cell_id, count in Counter(cell.id for cell in cells).items():
        if count > 1:
            raise ConfigError(f"loads: cell {cell_id} is there {count} times; make its loads differ, or leave out one")
    return list(cells)


def _cell(b: Benchmark, server: ServerSpec, models: tuple[str, ...]) -> Cell:
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
    return Cell(server=server, models=models, signature=b.signature, load=load)


def estimate(trials: Sequence[Trial], seconds_per_request: Mapping[str, float]) -> tuple[float, set[str]]:
    """About how many seconds trials take, and the cells about which nothing is known; those count their start alone.

    `seconds_per_request` is by cell id, from earlier runs.
    """
    total_s, unknown = _START_S, set()
    for _, group in groupby(trials, key=lambda trial: (trial.round, trial.cell.server)):
        total_s += _START_S
        for trial in group:
            load, each_s = trial.cell.load, seconds_per_request.get(trial.cell.id)
            total_s += _TRIAL_S + (load.duration_s or 0)
            if each_s is not None:
                total_s += each_s * ((load.request_count or 0) + load.warmup_request_count)
            elif load.request_count:
                unknown.add(trial.cell.id)
    return total_s, unknown


def shares(total: int, parts: int) -> list[int]:
    """A total dealt to so many parts, as evenly as whole numbers allow."""
    return [total // parts + (part < total % parts) for part in range(parts)]
