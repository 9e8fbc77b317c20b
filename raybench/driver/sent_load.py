"""The load of a trial: workers send from a common start, and what they send comes in and goes to disk."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import ray
from ray.exceptions import RayError

from raybench.config import STOP, STREAM
from raybench.config.plan import Trial
from raybench.driver import ray_nodes
from raybench.driver.deferred_interrupts import deferred_interrupts
from raybench.driver.gather import Gathered, Patience, gather
from raybench.driver.recorders import NO_TELEMETRY
from raybench.driver.run_context import RunContext
from raybench.driver.server_counters import counting
from raybench.driver.start_barrier import start_times
from raybench.driver.trial_record import item_hashes, skipped_rows, worker_records
from raybench.driver.worker_group import WorkerGroup
from raybench.inputs.stored_items import SkippedRows
from raybench.results.growing_samples import GrowingSamples, growing_samples
from raybench.results.records import StatisticsRecord, WorkerRecord
from raybench.servers import RunningServer
from raybench.telemetry.telemetry_buffer import Telemetry
from raybench.telemetry.telemetry_schema import DRAINED, LOAD
from raybench.worker.feed import LONGEST_WAIT_S

_MARGIN_S = 30.0
_WATCH_S = 5.0
_LOOK_S = 0.5  # between two looks at whether it is enough, each at all samples so far

EarlyStop = Callable[[list[pa.Table]], bool]  # whether the samples so far are enough


def never(_: list[pa.Table]) -> bool:
    """A trial that is measured to its end."""
    return False


@dataclass(frozen=True)
class SentLoad:
    """What was observed until the last reply came in, or an `error` (an interrupt, a failure of Ray) came.

    It `is_whole` where an error came only after the last reply.
    """

    tables: tuple[pa.Table, ...] = ()
    lost: dict[int, str] = field(default_factory=dict)
    workers: tuple[WorkerRecord, ...] = ()
    item_hashes: dict[int, tuple[str, ...]] = field(default_factory=dict)
    skipped: SkippedRows | None = None  # of a table that was streamed
    statistics: StatisticsRecord | None = None
    telemetry: Telemetry = NO_TELEMETRY
    error: BaseException | None = None
    is_whole: bool = False


def send_load(
    trial: Trial, context: RunContext, server: RunningServer, group: WorkerGroup, is_enough: EarlyStop
) -> SentLoad:
    """Start all workers together and gather what they send; what came before an error is kept.

    An interrupt has the workers send nothing more; what is in flight is waited for.
    """
    gathered, error, is_whole = Gathered(), None, False
    with (
        deferred_interrupts() as is_interrupted,
        growing_samples(context.folder, trial.id) as on_disk,
        counting(trial, server) as counter,
    ):
        on_disk.append(group.warmup)
        group.recorder.set_phase(LOAD)
        try:
            is_whole = _gather(trial, context, group, gathered, on_disk, is_enough, is_interrupted)
        except RayError as raised:
            error = raised
        group.recorder.set_phase(DRAINED)
        workers, payloads = worker_records(group, gathered.lost)
        counter.settle()
        total = counter.total()
        return SentLoad(
            tables=(group.warmup, *gathered.tables),
            lost=gathered.lost,
            workers=workers,
            item_hashes=item_hashes(payloads),
            skipped=skipped_rows(payloads),
            statistics=StatisticsRecord(**vars(total)) if total else None,
            telemetry=group.recorder.snapshot(),
            error=KeyboardInterrupt() if is_interrupted() else error,
            is_whole=is_whole,
        )


def _gather(
    trial: Trial,
    context: RunContext,
    group: WorkerGroup,
    gathered: Gathered,
    on_disk: GrowingSamples,
    is_enough: EarlyStop,
    is_interrupted: Callable[[], bool],
) -> bool:
    """Read every worker's samples to their end; returns whether that came by itself, and not by an interrupt."""
    _watch_hosts(group)
    times = start_times(group.clocks)
    streams = {actor.run.remote(at): i for i, (actor, at) in enumerate(zip(group.actors, times, strict=True))}
    looked_s, is_cut = time.monotonic(), False

    def on_chunk(chunk: pa.Table) -> None:
        nonlocal looked_s
        on_disk.append(chunk)
        context.observer.advance(chunk, group.recorder.server_mib())
        if time.monotonic() - looked_s > _LOOK_S:
            looked_s = time.monotonic()
            if is_enough(gathered.tables):
                group.halt()

    def on_loss() -> None:
        if context.benchmark.on_loss == STOP:
            group.halt()

    def on_turn() -> None:
        nonlocal is_cut
        if is_interrupted() and not is_cut:
            is_cut = True
            group.halt()
            context.observer.step(
                f"interrupted: waiting for requests in flight, at most {trial.cell.load.timeout_s:g} s; "
                "press Ctrl-C again to stop at once"
            )

    gather(
        group.actors,
        streams,
        gathered,
        _patience(trial, context),
        on_chunk=on_chunk,
        on_loss=on_loss,
        on_turn=on_turn,
    )
    return not is_cut


def _watch_hosts(group: WorkerGroup) -> None:
    """Have the first worker of each node read its host; one that does not in time does not, or is lost."""
    first = {place.node_id: group.actors[number] for number, place in reversed(list(enumerate(group.locations)))}
    here = ray_nodes.here()
    watching = [actor.watch_host.remote((os.getpid(),) if node == here else ()) for node, actor in first.items()]
    ray.wait(watching, num_returns=len(watching), timeout=_WATCH_S)


def _patience(trial: Trial, context: RunContext) -> Patience:
    load = trial.cell.load
    most_s = load.timeout_s + _MARGIN_S + (LONGEST_WAIT_S if load.feed == STREAM else 0)
    return Patience(heartbeat_s=context.benchmark.heartbeat_timeout, reply_s=most_s)
