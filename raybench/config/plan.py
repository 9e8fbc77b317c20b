"""A benchmark -> its trials, in the order in which they run; pure."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import quote

from raybench.config.benchmark import STREAM, Benchmark
from raybench.config.load_settings import LoadSettings
from raybench.config.protocols import GRPC, OWN_CLIENT, PROTOCOLS
from raybench.config.refusal import ConfigError
from raybench.config.server_spec import CUDA_SHARED_MEMORY, SHARED_MEMORY, ServerSpec, labelled

_SHARED = {SHARED_MEMORY: "-shm", CUDA_SHARED_MEMORY: "-cuda-shm"}
_START_S, _TRIAL_S = 12.0, 5.0  # of Ray or a server; of the workers of a trial: as seen on two cores


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a cell is driven; counts and rates are totals over all workers.

    In a closed loop each worker has `concurrency` lanes. In an open one requests are due at `offered_rps`, and
    `in_flight` is the most that wait for a reply at once.
    """

    workers: int
    concurrency: int | None
    in_flight: int
    arrivals: str
    offered_rps: float | None
    batch_size: int
    request_count: int | None
    duration_s: float | None
    warmup_request_count: int | None
    warmup_timeout_s: float
    stability_percentage: float
    timeout_s: float
    transport: str
    feed: str
    protocol: str = GRPC
    client: str = OWN_CLIENT  # of gRPC

    @property
    def lanes(self) -> list[int]:
        """Lanes of each worker."""
        return shares(self.in_flight, self.workers)

    @property
    def name(self) -> str:
        """Such as w4-c1-b8, w4-poisson200-m256-b8-shm, w4-c1-b8-http-json or w4-c1-b8-stream."""
        loop = f"c{self.concurrency}"
        if self.offered_rps:
            loop = f"{self.arrivals}{self.offered_rps:.12g}-m{self.in_flight}"
        shared = _SHARED.get(self.transport, "")
        streamed = "-stream" if self.feed == STREAM else ""
        protocol = "" if self.protocol == GRPC else f"-{self.protocol}"
        client = "" if self.client == OWN_CLIENT else f"-{self.client}"
        return f"w{self.workers}-{loop}-b{self.batch_size}{protocol}{shared}{client}{streamed}"


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
    def label(self) -> str:
        """The server's name in the table."""
        return labelled(self.server, self.load.transport, self.load.protocol, self.load.client)

    @property
    def endpoint(self) -> tuple[ServerSpec, tuple[str, ...], str, str]:
        """What is loaded, and how it is reached: what cells under different loads may share."""
        return self.server, self.models, self.load.protocol, self.load.client

    @property
    def id(self) -> str:
        server = self.server.label.replace(" ", "-")
        parts = ("+".join(map(_quoted, self.models)), _quoted(self.signature), self.load.name)  # the id names files
        return "-".join((server, *filter(None, parts)))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One cell, measured once."""

    cell: Cell
    round: int

    @property
    def id(self) -> str:
        return f"r{self.round}-{self.cell.id}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def trials(benchmark: Benchmark) -> tuple[Trial, ...]:
    """Every cell once per round; servers, and the cells of each server, are shuffled again in each round.

    The trials of a server that raybench starts come one after the other: one server runs at a time, so that its memory
    can be measured. Cells of already running servers are shuffled among all.
    """
    order = random.Random(benchmark.seed)
    planned = []
    for round_number in range(1, benchmark.rounds + 1):
        groups = [
            order.sample(group, len(group))
            for server in benchmark.servers
            for group in _neighbours(server, cells(benchmark, server))
        ]
        ordered = [cell for group in order.sample(groups, len(groups)) for cell in group]
        planned += [Trial(cell=cell, round=round_number) for cell in ordered]
    return tuple(planned)


def first_trials(benchmark: Benchmark) -> tuple[Trial, ...]:
    """A trial of each server and model, by each protocol and client, in the order in which they were named: a search
    goes through them in turn."""
    firsts = {trial.cell.endpoint: trial for trial in reversed(trials(benchmark))}
    servers, models = benchmark.servers, benchmark.all_models

    def named(trial: Trial) -> tuple[int, int, int, bool]:
        load = trial.cell.load
        of_server, of_model = servers.index(trial.cell.server), models.index(trial.cell.models[0])
        return of_server, of_model, PROTOCOLS.index(load.protocol), load.client != OWN_CLIENT

    return tuple(sorted(firsts.values(), key=named))


def _neighbours(server: ServerSpec, cells: list[Cell]) -> list[list[Cell]]:
    """Cells that must run one after the other: all of a server that we start, each alone where a url names it."""
    return [[cell] for cell in cells] if server.url else [cells]


def cells(benchmark: Benchmark, server: ServerSpec) -> list[Cell]:
    """The cells of one server: each load at each of its rates, with each of its models or with all mixed.

    Loads that are in fact the same, such as other numbers of workers for TensorFlow in process, are one cell. Raises
    ConfigError where two differ in something that their name does not show.
    """
    cells = dict.fromkeys(
        _cell(benchmark, asked, server, models, rate, protocol, client)
        for asked in benchmark.loads
        for protocol in asked.protocols(server)
        for client in asked.clients(server, protocol)
        for rate in asked.request_rate or (None,)
        for models in ([asked.model] if benchmark.mix else [(model,) for model in asked.model])
    )
    for cell_id, count in Counter(cell.id for cell in cells).items():
        if count > 1:
            raise ConfigError(f"loads: {count} loads give the same row {cell_id}; make them differ, or leave one out")
    return list(cells)


def _cell(
    benchmark: Benchmark,
    asked: LoadSettings,
    server: ServerSpec,
    models: tuple[str, ...],
    rate: float | None,
    protocol: str,
    client: str,
) -> Cell:
    """TensorFlow in process is one worker, in closed loop with one lane: more would be processes, not load."""
    if server.kind == "local":
        asked = asked.model_copy(update={"workers": 1, "concurrency": None})
    load = Load(
        workers=asked.workers,
        concurrency=None if rate else asked.concurrency or 1,
        in_flight=asked.in_flight,
        arrivals=asked.request_distribution if rate else "closed",
        offered_rps=rate,
        batch_size=asked.items,
        request_count=asked.request_count,
        duration_s=asked.duration,
        warmup_request_count=asked.warmup_request_count,
        warmup_timeout_s=asked.warmup_timeout,
        stability_percentage=benchmark.stability_percentage,
        timeout_s=asked.timeout,
        transport=benchmark.transport(asked, server, protocol),
        feed=benchmark.feed,
        protocol=protocol,
        client=client,
    )
    return Cell(server=server, models=models, signature=asked.signature or "", load=load)


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
            if load.offered_rps:
                total_s += (load.request_count or 0) / load.offered_rps
            elif each_s is not None:
                total_s += each_s * ((load.request_count or 0) + (load.warmup_request_count or 0))
            elif load.request_count:
                unknown.add(trial.cell.id)
    return total_s, unknown


def shares(total: int, parts: int) -> list[int]:
    """A total dealt to so many parts, as evenly as whole numbers allow."""
    return [total // parts + (part < total % parts) for part in range(parts)]
