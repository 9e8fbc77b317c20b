"""The workers of a trial: actors that have opened, encoded and warmed up, and wait at the start barrier."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayError

from raybench.clients import shared_memory
from raybench.clients.base import ClientError, Description
from raybench.clients.device_regions import lane_names
from raybench.config import CUDA_SHARED_MEMORY, IN_MEMORY
from raybench.config.plan import Load, Trial, shares
from raybench.driver.echo_server import Echo, start_echo
from raybench.driver.ray_metrics import Tags
from raybench.driver.recorders import Recording
from raybench.driver.run_context import RunContext
from raybench.driver.start_barrier import ClockOffset, measure_clock
from raybench.driver.worker_actor import WorkerActor, WorkerLocation, end
from raybench.inputs.dataset import Shards
from raybench.inputs.memory_budget import encoded_bytes
from raybench.inputs.table_inputs import TableInputs
from raybench.results import samples
from raybench.results.records import StartRecord
from raybench.servers import RunningServer
from raybench.telemetry.telemetry_schema import WARM
from raybench.worker.task import PayloadSummary, Task, WorkerUsage

_OPEN_TIMEOUT_S = 300.0  # TensorFlow imports and loads in here
_ENCODE_TIMEOUT_S = 300.0
_USAGE_TIMEOUT_S = 5.0
_WARM_UP_MARGIN_S = 10.0
_WARM_UP_REQUESTS = 3  # that may each run into their deadline, whatever was asked for


@dataclass(frozen=True)
class WorkerGroup:
    """The workers of a trial, ready at the barrier."""

    actors: list[Any]
    echo: Echo
    recorder: Recording
    clocks: list[ClockOffset]
    payloads: list[PayloadSummary]
    warmup: pa.Table
    locations: list[WorkerLocation]
    server_node_id: str | None
    usages: list[WorkerUsage]
    description: Description
    server_start: StartRecord | None  # where the workers are the server

    def halt(self) -> None:
        """Have the workers send nothing more."""
        for actor in self.actors:
            actor.halt.remote()

    def left(self, lost: Collection[int]) -> dict[int, Any]:
        """The actors of the workers that are not lost, by number."""
        return {number: actor for number, actor in enumerate(self.actors) if number not in lost}


@contextmanager
def worker_group(trial: Trial, context: RunContext, server: RunningServer) -> Iterator[WorkerGroup]:
    """Place and start the workers of a trial and bring them to the barrier; they end with the block.

    Raises ClientError where there is no CPU for them, or one of them does not take a step in time.
    """
    # Dealt before workers hold the CPUs: the tasks of Ray that do so may need one, and would wait forever.
    shards = context.session.inputs.shards_of(trial.cell)
    regions = _regions(trial.cell.load, server)
    tasks, tags = _tasks(trial, context, server, regions), Tags.of(trial, context.folder.name)
    with context.session.placement.workers(trial.cell) as seats:
        actors = [WorkerActor.options(**seat).remote(task, tags) for seat, task in zip(seats, tasks, strict=True)]
        echo = Echo(is_asked=False)
        try:
            echo = start_echo(trial, context, server)  # while the processes of the workers start
            yield _at_the_barrier(actors, shards, trial, context, server, echo)
        finally:
            end(actors)
            _unregister(trial.cell.load, regions, [*filter(None, (server, echo.server))])


def all_answers(refs: list[Any], step: str, timeout_s: float) -> list[Any]:
    """What every worker answers in one step; raises ClientError naming the step and the workers that did not."""
    _, late = ray.wait(refs, num_returns=len(refs), timeout=timeout_s)
    if late:
        numbers = ", ".join(str(refs.index(ref)) for ref in late)
        raise ClientError(f"workers {numbers} did not {step} within {timeout_s:.0f} s")
    return list(ray.get(refs))


def call_all(actors: Mapping[int, Any], method: str, timeout_s: float) -> dict[int, Any]:
    """What those workers answer to a method that do so in time, all asked at once."""
    asked = {getattr(actor, method).remote(): number for number, actor in actors.items()}
    answers = {}
    for answer in ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)[0] if asked else []:
        with suppress(RayError):
            answers[asked[answer]] = ray.get(answer, timeout=timeout_s)
    return answers


def _at_the_barrier(
    actors: list[Any], shards: Shards, trial: Trial, context: RunContext, server: RunningServer, echo: Echo
) -> WorkerGroup:
    """Take the workers through open, encode and warm up, all at once in each step."""
    cell, session = trial.cell, context.session
    if cell.load.transport in IN_MEMORY:
        shared_memory.unregister_orphans(server.url, server.credentials, transport=cell.load.transport)
    locations = all_answers([each.location.remote() for each in actors], "start", _OPEN_TIMEOUT_S)
    recorder = session.recorders.of_trial(cell.server, server, locations)
    address = echo.address(cell.load.protocol)
    opening = [each.open.remote(server.credentials, address) for each in actors]
    descriptions = all_answers(opening, "open", _OPEN_TIMEOUT_S)
    recorder.set_phase(None)
    start = _start(actors) if cell.server.is_in_process else None
    encoding = [each.encode.remote(shard) for each, shard in zip(actors, shards, strict=True)]
    payloads = all_answers(encoding, "encode", _ENCODE_TIMEOUT_S)
    recorder.set_phase(WARM)
    warmup = all_answers([each.warm_up.remote() for each in actors], "warm up", _warm_up_s(cell.load))
    return WorkerGroup(
        actors=actors,
        echo=echo,
        recorder=recorder,
        clocks=[measure_clock(each) for each in actors],
        payloads=payloads,
        warmup=samples.merge(warmup),
        locations=locations,
        server_node_id=session.recorders.node_of(cell.server, locations),
        usages=ray.get([each.usage.remote() for each in actors], timeout=_USAGE_TIMEOUT_S),
        description=descriptions[0],
        server_start=start,
    )


def _start(actors: list[Any]) -> StartRecord:
    """Of a server that the workers are: it is ready when the last of them is; its first call is the trial's own."""
    open_s = ray.get([each.open_s.remote() for each in actors], timeout=_USAGE_TIMEOUT_S)
    return StartRecord(ready_s=max(open_s), warm_up_s=0.0)


def _warm_up_s(load: Load) -> float:
    requests = (load.warmup_request_count or 0) // load.workers + _WARM_UP_REQUESTS
    return load.timeout_s * requests + load.warmup_timeout_s + _WARM_UP_MARGIN_S


def _regions(load: Load, server: RunningServer) -> Sequence[str | None]:
    """A region of shared memory for each worker, or none."""
    if load.transport in IN_MEMORY:
        return shared_memory.names(server.url, load.workers)
    return [None] * load.workers


def _unregister(load: Load, regions: Sequence[str | None], servers: Sequence[RunningServer]) -> None:
    """Have servers forget the regions of all workers: one that was killed could not say so."""
    names = [name for name in regions if name]
    if load.transport == CUDA_SHARED_MEMORY:
        names = [each for name, lanes in zip(names, load.lanes, strict=True) for each in lane_names(name, lanes)]
    for server in servers if names else ():
        shared_memory.unregister(server.url, names, server.credentials, transport=load.transport)


def _tasks(trial: Trial, context: RunContext, server: RunningServer, regions: Sequence[str | None]) -> Sequence[Task]:
    load, benchmark = trial.cell.load, context.benchmark
    source = context.session.inputs.source_of(trial.cell)
    batch_bytes = load.batch_size * source.item_bytes
    kept = 2 if isinstance(source, TableInputs) else 1  # of a table that is streamed the items are kept too
    counts = _shares(load.request_count or None, load.workers)
    warmups = _shares(load.warmup_request_count, load.workers)
    task = Task(
        worker=0,
        cell=trial.cell,
        signatures=context.session.inputs.signatures_of(trial.cell),
        url=server.url_of(load.protocol),
        control_url=server.url,
        models=str(context.session.models_conf.parent),
        request_count=None,
        warmup_request_count=0,
        seed=(benchmark.seed, trial.round),
        stream_bytes=encoded_bytes(benchmark.budget_bytes // load.workers, batch_bytes) // kept,
    )
    return [
        replace(task, worker=number, request_count=counts[number], warmup_request_count=warmups[number], region=region)
        for number, region in enumerate(regions)
    ]


def _shares(total: int | None, workers: int) -> Sequence[int | None]:
    return [None] * workers if total is None else shares(total, workers)
