"""One trial: workers open, encode, warm up, wait at the barrier and send; what was observed becomes a record."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
from ray.exceptions import RayActorError, RayError

from raybench.clients.base import ClientError
from raybench.config import ECHO, STOP, STREAM, Benchmark
from raybench.config.plan import Trial
from raybench.driver import ray_nodes
from raybench.driver.deferred_interrupts import deferred_interrupts
from raybench.driver.gather import Gathered, Patience, gather
from raybench.driver.ray_errors import sentence
from raybench.driver.recorders import NO_TELEMETRY
from raybench.driver.run_context import RunContext
from raybench.driver.sampled_replies import SampledReply, is_compared, sample_replies, verified
from raybench.driver.server_counters import counting
from raybench.driver.start_barrier import start_times
from raybench.driver.trial_record import item_hashes, new_record, now, telemetry_record, with_group, worker_records
from raybench.driver.worker_group import WorkerGroup, all_answers, worker_group
from raybench.results import results_folder, samples
from raybench.results.growing_samples import GrowingSamples, growing_samples
from raybench.results.records import StatisticsRecord, TrialRecord, VerificationRecord, WorkerRecord
from raybench.results.results_folder import ObservedTrial
from raybench.servers import RunningServer, ServerError, ServerUnavailable
from raybench.telemetry.telemetry_buffer import Telemetry
from raybench.telemetry.telemetry_schema import DRAINED, LOAD, SCHEMA
from raybench.worker.feed import LONGEST_WAIT_S

_CALIBRATE_TIMEOUT_S = 30.0
_MARGIN_S = 30.0
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
    statistics: StatisticsRecord | None = None
    telemetry: Telemetry = NO_TELEMETRY
    error: BaseException | None = None
    is_whole: bool = False


def measure(trial: Trial, context: RunContext, server: RunningServer, is_enough: EarlyStop = never) -> ObservedTrial:
    """Run a trial against a server that is ready; what goes wrong becomes its status and reason."""
    context.observer.start(trial, context.session.inputs.source_of(trial.cell).unit)
    record, sent, ceiling = new_record(trial, context, server), SentLoad(), list[pa.Table]()
    was_interrupted = False
    try:
        _check_cpus(trial.cell.load.workers)
        with worker_group(trial, context, server) as group:
            record = with_group(record, trial, server, group)
            results_folder.write_running(context.folder, record)
            sent = _send_load(trial, context, server, group, is_enough)
            record = _with_load(record, sent)
            if sent.error:
                raise sent.error
            replies = sample_replies(trial, context.session.inputs.shards_of(trial.cell), group.left(sent.lost))
            group.recorder.set_phase(None)
            sent = replace(sent, telemetry=group.recorder.snapshot())
            ceiling = _ceiling(trial, context, server, group, sent)
        record = _ended(record, trial, context, server, sent, replies)
    except (ClientError, ServerError, RayError) as error:
        lost = f"a worker was lost before the start: {sentence(error)}" if isinstance(error, RayActorError) else None
        record = replace(record, status="failed", reason=sentence(error), lost=record.lost or lost)
    except KeyboardInterrupt:
        record, was_interrupted = _interrupted(record, trial, context.benchmark, server, sent), True
    record = replace(record, ended=now(), telemetry=telemetry_record(sent.telemetry))
    return ObservedTrial(record, samples.merge([*sent.tables, *ceiling]), sent.telemetry.rows, was_interrupted)


def not_measured(trial: Trial, context: RunContext, error: ServerError) -> ObservedTrial:
    """The row of a trial whose server could not be had (skipped) or did not start (failed)."""
    context.observer.start(trial, context.session.inputs.source_of(trial.cell).unit)
    status = "skipped" if isinstance(error, ServerUnavailable) else "failed"
    record = replace(new_record(trial, context, None), ended=now(), status=status, reason=str(error))
    return ObservedTrial(record, samples.merge([]), SCHEMA.empty_table())


def _check_cpus(workers: int) -> None:
    """Raise ClientError where nodes are gone since the run began, and actors would wait for a CPU forever."""
    if (left := ray_nodes.cpus()) < workers:
        raise ClientError(
            f"{workers} workers need a CPU each, and the Ray cluster has {left} left: add nodes, or use fewer workers"
        )


def _send_load(
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
                "another Ctrl-C ends at once"
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


def _patience(trial: Trial, context: RunContext) -> Patience:
    load = trial.cell.load
    most_s = load.timeout_s + _MARGIN_S + (LONGEST_WAIT_S if load.feed == STREAM else 0)
    return Patience(heartbeat_s=context.benchmark.heartbeat_timeout, reply_s=most_s)


def _with_load(record: TrialRecord, sent: SentLoad) -> TrialRecord:
    return replace(
        record,
        workers=sent.workers,
        item_hashes=sent.item_hashes,
        server_statistics=sent.statistics,
        lost=_named(sent.lost) if sent.lost else None,
    )


def _ceiling(
    trial: Trial, context: RunContext, server: RunningServer, group: WorkerGroup, sent: SentLoad
) -> list[pa.Table]:
    """What the same workers reach against Triton's model that does nothing; nothing where one does not answer."""
    is_asked = server.is_ours if context.benchmark.calibrate is None else context.benchmark.calibrate
    is_triton = trial.cell.server.kind == "triton" and ECHO not in trial.cell.models
    if not (is_asked and is_triton) or sent.lost or server.failure():
        return []
    context.observer.step(f"calibrating the client of {trial.cell.label}")
    most_s = 2 * trial.cell.load.timeout_s + _CALIBRATE_TIMEOUT_S
    try:
        return all_answers([each.calibrate.remote() for each in group.actors], "calibrate", most_s)
    except (ClientError, RayError):
        return []


def _ended(
    record: TrialRecord,
    trial: Trial,
    context: RunContext,
    server: RunningServer,
    sent: SentLoad,
    replies: Sequence[SampledReply],
) -> TrialRecord:
    """The record with what became of the trial, and whether its answers agree with TensorFlow's."""
    failure = server.failure()
    status, reason = _outcome(trial, sent, failure)
    return replace(
        record,
        server_ended=failure,
        status=status,
        reason=reason,
        verification=verified(trial, context, replies),
    )


def _interrupted(
    record: TrialRecord, trial: Trial, benchmark: Benchmark, server: RunningServer, sent: SentLoad
) -> TrialRecord:
    """The record of a trial that was interrupted; one whose last reply was in has been measured, but not verified."""
    if not sent.is_whole:
        cut = "interrupted from outside; what was measured until then is kept"
        return replace(record, status="interrupted", reason=cut)
    failure = server.failure()
    status, reason = _outcome(trial, sent, failure)
    not_compared = VerificationRecord(agrees=None, reason="interrupted before the answers were compared")
    verification = not_compared if is_compared(trial, benchmark) else None
    return replace(record, server_ended=failure, status=status, reason=reason, verification=verification)


def _outcome(trial: Trial, sent: SentLoad, failure: str | None) -> tuple[str, str | None]:
    """A trial's status and the reason where it is not ok; `failure` is the server's."""
    if failure:
        return "failed", failure
    if sent.statistics and (hits := sent.statistics.counted.cache_hit):
        return "failed", (
            f"{hits} requests were answered from Triton's response cache, and not by the model; "
            f"take response_cache out of the model's config.pbtxt, or start Triton without --cache-config"
        )
    if sent.lost:
        return ("failed" if len(sent.lost) == trial.cell.load.workers else "degraded"), _named(sent.lost)
    rows = samples.measured(samples.merge(list(sent.tables)))
    if len(samples.succeeded(rows)) == 0:
        first = next((text for text in rows["error"].to_pylist() if text), "no request was sent")
        return "failed", f"no request succeeded; the first error was: {first}"
    return "ok", None


def _named(lost: dict[int, str]) -> str:
    return "lost: " + "; ".join(f"worker {number} {why}" for number, why in sorted(lost.items()))
