"""One trial, from workers that open to a record: what was observed, and what became of it."""

from dataclasses import replace

import pyarrow as pa
from ray.exceptions import RayActorError, RayError

from raybench.clients.base import ClientError
from raybench.config import Benchmark
from raybench.config.plan import Trial
from raybench.driver import ray_nodes
from raybench.driver.client_ceiling import find_ceiling
from raybench.driver.ray_errors import sentence
from raybench.driver.required_gpu import check_used
from raybench.driver.run_context import RunContext
from raybench.driver.sampled_replies import SampledReplies, is_compared, sample_replies, verified
from raybench.driver.sent_load import EarlyStop, SentLoad, never, send_load
from raybench.driver.trial_record import new_record, now, telemetry_record, with_decoded, with_group
from raybench.driver.worker_group import worker_group
from raybench.results import results_folder, samples
from raybench.results.records import TrialRecord, VerificationRecord
from raybench.results.results_folder import ObservedTrial
from raybench.servers import RunningServer, ServerError, ServerUnavailable
from raybench.telemetry.telemetry_schema import SCHEMA


def measure(
    trial: Trial,
    context: RunContext,
    server: RunningServer,
    is_enough: EarlyStop = never,
    *,
    is_servers_last: bool = False,
) -> ObservedTrial:
    """Run a trial against a server that is ready; what goes wrong becomes its status and reason.

    With `is_servers_last` no other trial needs the server, so it ends while the answers are checked.
    """
    context.observer.start(trial, context.session.inputs.source_of(trial.cell).unit)
    record, sent, ceiling = new_record(trial, context, server), SentLoad(), list[pa.Table]()
    was_interrupted = False
    try:
        _check_cpus(trial.cell.load.workers)
        with worker_group(trial, context, server) as group:
            record = with_group(record, trial, server, group)
            check_used(record, context.benchmark)
            results_folder.write_running(context.folder, record)
            sent = send_load(trial, context, server, group, is_enough)
            record = _with_load(record, sent)
            if sent.skipped:
                context.observer.note(str(sent.skipped))
            if sent.error:
                raise sent.error
            replies = sample_replies(trial, context, group.left(sent.lost))
            record = replace(record, workers=with_decoded(record.workers, group.left(sent.lost)))
            group.recorder.set_phase(None)
            sent = replace(sent, telemetry=group.recorder.snapshot())
            if not (sent.lost or server.failure()):
                ceiling, why_none = find_ceiling(trial, context, group)
                record = replace(record, ceiling_reason=why_none)
        if is_servers_last:
            server = _ending(server)
        record = _ended(record, trial, context, server, sent, replies)
    except (ClientError, ServerError, RayError) as error:
        lost = f"a worker was lost before the start: {sentence(error)}" if isinstance(error, RayActorError) else None
        record = replace(record, status="failed", reason=sentence(error), lost=record.lost or lost)
    except KeyboardInterrupt:
        record, was_interrupted = _interrupted(record, trial, context.benchmark, server, sent), True
    record = replace(record, ended=now(), telemetry=telemetry_record(sent.telemetry))
    return ObservedTrial(record, samples.merge([*sent.tables, *ceiling]), sent.telemetry.rows, was_interrupted)


def not_measured(trial: Trial, context: RunContext, error: ServerError) -> ObservedTrial:
    """The row of a trial whose server is not available (skipped) or did not start (failed)."""
    context.observer.start(trial, context.session.inputs.source_of(trial.cell).unit)
    status = "skipped" if isinstance(error, ServerUnavailable) else "failed"
    record = replace(new_record(trial, context, None), ended=now(), status=status, reason=str(error))
    return ObservedTrial(record, samples.merge([]), SCHEMA.empty_table())


def _ending(server: RunningServer) -> RunningServer:
    """Ask a server to end. From here on its end is no failure, but one from before still counts."""
    failure = server.failure()
    server.begin_stop()
    return replace(server, failure=lambda: failure)


def _check_cpus(workers: int) -> None:
    """Raise ClientError where nodes are gone since the run began, and actors would wait for a CPU forever."""
    if (left := ray_nodes.cpus()) < workers:
        raise ClientError(
            f"{workers} workers need a CPU each, but the Ray cluster has {left} left: add nodes, or use fewer workers"
        )


def _with_load(record: TrialRecord, sent: SentLoad) -> TrialRecord:
    streamed = (str(sent.skipped),) if sent.skipped else ()
    return replace(
        record,
        input=replace(record.input, skipped_rows=(*record.input.skipped_rows, *streamed)),
        workers=sent.workers,
        item_hashes=sent.item_hashes,
        server_statistics=sent.statistics,
        lost=_named(sent.lost) if sent.lost else None,
    )


def _ended(
    record: TrialRecord,
    trial: Trial,
    context: RunContext,
    server: RunningServer,
    sent: SentLoad,
    replies: SampledReplies,
) -> TrialRecord:
    """The record with what became of the trial, and whether its answers agree with TensorFlow's."""
    failure = server.failure()
    status, reason = _outcome(trial, sent, failure)
    is_answered = any(len(samples.succeeded(rows)) for rows in map(samples.measured, sent.tables))
    return replace(
        record,
        server_ended=failure,
        status=status,
        reason=reason,
        verification=(
            verified(trial, context, replies, telemetry_record(sent.telemetry), record.server.uses_gpu)
            if is_answered
            else None
        ),
    )


def _interrupted(
    record: TrialRecord, trial: Trial, benchmark: Benchmark, server: RunningServer, sent: SentLoad
) -> TrialRecord:
    """The record of a trial that was interrupted; one whose last reply was in has been measured, but not verified."""
    if not sent.is_whole:
        cut = "interrupted; what was measured until then is kept"
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
            f"{hits} requests were answered from Triton's response cache, not by the model; "
            f"remove response_cache from the model's config.pbtxt, or start Triton without --cache-config"
        )
    if sent.lost:
        return ("failed" if len(sent.lost) == trial.cell.load.workers else "degraded"), _named(sent.lost)
    rows = samples.measured(samples.merge(list(sent.tables)))
    if len(rows) == 0:
        return "failed", "no request was sent"
    if len(samples.succeeded(rows)) == 0:
        first = next((text for text in rows["error"].to_pylist() if text), "no reason was given")
        return "failed", f"none of {len(rows)} requests succeeded; the first error: {first}"
    return "ok", None


def _named(lost: dict[int, str]) -> str:
    return "; ".join(f"lost worker {number}: {why}" for number, why in sorted(lost.items()))
