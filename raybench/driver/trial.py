"""One trial: workers open, encode, warm up, wait at the gate, send; what was observed becomes a record."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayActorError, RayError

from raybench.clients import shared_memory
from raybench.clients.base import ClientError
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.config import ECHO, IMAGE_BYTES, SHARED_MEMORY, STOP, STREAM, Benchmark
from raybench.config.plan import Trial, shares
from raybench.driver import node_liveness
from raybench.driver.answer_samples import Sampled, sample, verified
from raybench.driver.cluster_nodes import alive
from raybench.driver.gather import Gathered, Patience, gather
from raybench.driver.placement import Placement
from raybench.driver.ray_metrics import Tags
from raybench.driver.recorders import NOWHERE, Recorders, Recording
from raybench.driver.run_observer import RunObserver
from raybench.driver.server_config import with_effective
from raybench.driver.server_counters import counting
from raybench.driver.start_barrier import Clock, measure_clock, start_times
from raybench.driver.worker_actor import Place, WorkerActor, end
from raybench.driver.worker_records import worker_facts
from raybench.inputs.dataset import Held, Streamed
from raybench.models.model_facts import describe_model
from raybench.models.reference import Reference
from raybench.results import results_folder, samples
from raybench.results.results_folder import Observed
from raybench.servers import Running, ServerError, facts
from raybench.telemetry.server_statistics import StatisticsTotal
from raybench.telemetry.telemetry_buffer import Telemetry
from raybench.telemetry.telemetry_schema import DRAINED, LOAD, SCHEMA, WARM
from raybench.worker.feed import LONGEST_WAIT_S, encoded_bytes
from raybench.worker.load_worker import Payloads, Task

_OPEN_TIMEOUT_S = 300.0  # TensorFlow imports and loads in here
_ENCODE_TIMEOUT_S = 300.0
_HALT_TIMEOUT_S = 5.0
_CALIBRATE_TIMEOUT_S = 30.0
_MARGIN_S = 30.0
_LOOK_S = 0.5  # between two looks at whether it is enough, each at all samples so far
Shards = Sequence[Held | Streamed]  # one a worker


@dataclass(frozen=True)
class Run:
    """What all trials of a run share, with what opens the servers by url; `is_enough` says of what a trial has measured
    so far whether it may end."""

    benchmark: Benchmark
    folder: Path
    placement: Placement
    progress: RunObserver
    reference: Reference
    recorders: Recorders
    credentials: ConnectionCredentials = NO_CREDENTIALS
    is_enough: Callable[[list[pa.Table]], bool] = lambda _: False


@dataclass(frozen=True)
class Crew:
    """The workers of a trial, ready at the gate."""

    actors: list[Any]
    recorder: Recording
    clocks: list[Clock]
    payloads: list[Payloads]
    warmup: pa.Table
    places: list[Place]
    server_node_id: str | None
    facts: list[dict[str, Any]]
    server_version: str | None
    model_version: int | None


def measure(trial: Trial, run: Run, server: Running, shards: Shards) -> Observed:
    """Run a trial against a server that is ready; what goes wrong becomes its status and reason."""
    gathered, telemetry, answers = Gathered(), NOWHERE, list[Sampled]()
    record = {
        **_identity(trial, run.benchmark, server),
        "started": _now(),
        "processes": {"raybench": os.getpid(), "server": dict(server.parts)},
    }
    try:
        _check_cpus(trial.cell.load.workers)
        with run.placement.workers(trial.cell) as seats, _crew(trial, run, server, shards, seats) as crew:
            if crew.model_version is not None:
                record["model"] |= {"version": crew.model_version}
            record["placement"] = {"nodes": len(alive()), "server_node_id": crew.server_node_id}
            record["server"] = with_effective(trial, server, record["model"], crew.actors[0])
            results_folder.announce(run.folder, {**record, "workers": crew.facts})
            with counting(trial, server) as count:
                try:
                    crew.recorder.set_phase(LOAD)
                    _send(trial, crew, gathered, run)
                finally:
                    crew.recorder.set_phase(DRAINED)
                    record |= _facts(crew, gathered.lost, count.total())
                    gathered.tables.insert(0, crew.warmup)
                    telemetry = crew.recorder.snapshot()
            answers = sample(crew.actors, gathered.lost, trial, shards)
            crew.recorder.set_phase(None)
            telemetry = crew.recorder.snapshot()
            if _is_calibrated(trial, run.benchmark, server) and not gathered.lost:
                gathered.tables += _ceiling(trial, crew, run.progress)
        record["server_ended"] = server.failure()
        status, reason = _outcome(trial, gathered, record["server_ended"], record["server_statistics"])
        record["verification"] = verified(trial, run.benchmark, answers, run.reference, run.progress.step)
    except (ClientError, ServerError, RayError) as error:
        status, reason = "failed", _sentence(error)
        if isinstance(error, RayActorError):
            record["lost"] = f"a worker was lost before the start: {reason}"
    except KeyboardInterrupt:
        status, reason = "interrupted", "interrupted from outside; what was measured until then is kept"
    record |= {"ended": _now(), "status": status, "reason": reason, "telemetry": _telemetry(telemetry)}
    return Observed(record=record, samples=samples.merge(gathered.tables), telemetry=telemetry.rows)


def not_measured(trial: Trial, benchmark: Benchmark, *, status: str, reason: str) -> Observed:
    """The row of a trial whose server could not be had (skipped) or did not start (failed)."""
    server = Running(url="", facts=facts(trial.cell.server))
    when = {"started": _now(), "ended": _now()}
    record = {**_identity(trial, benchmark, server), **when, "status": status, "reason": reason}
    return Observed(record=record, samples=samples.merge([]), telemetry=SCHEMA.empty_table())


@contextmanager
def _crew(
    trial: Trial, run: Run, server: Running, shards: Shards, seats: Sequence[Mapping[str, Any]]
) -> Iterator[Crew]:
    """Workers that have warmed up, each an actor with the options of its seat; their actors end with the block."""
    load = trial.cell.load
    counts = shares(load.request_count, load.workers) if load.request_count else [None] * load.workers
    asked = load.warmup_request_count
    warmups = [None] * load.workers if asked is None else shares(asked, load.workers)
    task = Task(
        worker=0,
        cell=trial.cell,
        url=server.url,
        models=str(run.benchmark.models_conf.parent.resolve()),  # a worker has a working directory of its own
        request_count=None,
        warmup_request_count=0,
        seed=(run.benchmark.seed, trial.round),
        stream_bytes=encoded_bytes(run.benchmark.budget_bytes // load.workers, load.batch_size * IMAGE_BYTES),
    )
    shared = load.transport == SHARED_MEMORY
    regions = shared_memory.names(server.url, load.workers) if shared else [None] * load.workers
    tasks = [
        replace(task, worker=i, request_count=counts[i], warmup_request_count=warmups[i], region=region)
        for i, region in enumerate(regions)
    ]
    tags = Tags.of(trial, run.folder.name)
    actors = [WorkerActor.options(**seat).remote(each, tags) for seat, each in zip(seats, tasks, strict=True)]
    try:
        if shared:
            shared_memory.unregister_orphans(server.url, server.credentials)
        places = _all([each.place.remote() for each in actors], "start", _OPEN_TIMEOUT_S)
        recorder = run.recorders.of_trial(trial.cell.server, server, places)
        descriptions = _all([each.open.remote(server.credentials) for each in actors], "open", _OPEN_TIMEOUT_S)
        recorder.set_phase(None)
        encoding = [each.encode.remote(shard) for each, shard in zip(actors, shards, strict=True)]
        payloads = _all(encoding, "encode", _ENCODE_TIMEOUT_S)
        recorder.set_phase(WARM)
        most_s = load.timeout_s * ((asked or 0) // load.workers + 3) + load.warmup_timeout_s + 10
        warmup = _all([each.warm_up.remote() for each in actors], "warm up", most_s)
        yield Crew(
            actors=actors,
            recorder=recorder,
            clocks=[measure_clock(each) for each in actors],
            payloads=payloads,
            warmup=samples.merge(warmup),
            places=places,
            server_node_id=run.recorders.node_of(trial.cell.server, places),
            facts=ray.get([each.facts.remote() for each in actors], timeout=_HALT_TIMEOUT_S),
            server_version=descriptions[0].version,
            model_version=descriptions[0].model_version if len(trial.cell.models) == 1 else None,
        )
    finally:
        end(actors)
        if shared:
            shared_memory.unregister(server.url, filter(None, regions), server.credentials)


def _check_cpus(workers: int) -> None:
    """Raise ClientError where nodes are gone since the run began, and actors would wait for a CPU forever."""
    if (left := node_liveness.cpus()) < workers:
        raise ClientError(
            f"{workers} workers need a CPU each, and the Ray cluster has {left} left: add nodes, or use fewer workers"
        )


def _all(refs: list[Any], step: str, timeout_s: float) -> list[Any]:
    """What every worker answers in one step; raises ClientError naming the step and the workers that did not."""
    _, late = ray.wait(refs, num_returns=len(refs), timeout=timeout_s)
    if late:
        numbers = ", ".join(str(refs.index(ref)) for ref in late)
        raise ClientError(f"workers {numbers} did not {step} within {timeout_s:.0f} s")
    return list(ray.get(refs))


def _send(trial: Trial, crew: Crew, gathered: Gathered, run: Run) -> None:
    """Open the gate and gather; when it is enough, and on an interrupt, halt the workers and keep what they have."""
    load = trial.cell.load
    most_s = load.timeout_s + _MARGIN_S + (LONGEST_WAIT_S if load.feed == STREAM else 0)
    patience = Patience(heartbeat_s=run.benchmark.heartbeat_timeout, reply_s=most_s)
    times = start_times(crew.clocks)
    streams = {actor.run.remote(at): i for i, (actor, at) in enumerate(zip(crew.actors, times, strict=True))}
    looked_s = time.monotonic()

    def on_chunk(chunk: pa.Table) -> None:
        nonlocal looked_s
        run.progress.advance(chunk, crew.recorder.server_mib())
        if time.monotonic() - looked_s > _LOOK_S:
            looked_s = time.monotonic()
            if run.is_enough(gathered.tables):
                _halt(crew)

    def on_loss() -> None:
        if run.benchmark.on_loss == STOP:
            _halt(crew)

    def to_the_end() -> None:
        gather(crew.actors, streams, gathered, patience, on_chunk=on_chunk, on_loss=on_loss)

    try:
        to_the_end()
    except KeyboardInterrupt:
        _halt(crew)
        to_the_end()
        raise


def _halt(crew: Crew) -> None:
    for actor in crew.actors:
        actor.halt.remote()


def _is_calibrated(trial: Trial, benchmark: Benchmark, server: Running) -> bool:
    """Against Triton, which has a model that does nothing; unless that is what was measured."""
    if trial.cell.server.kind != "triton" or ECHO in trial.cell.models or server.failure():
        return False
    return server.is_ours if benchmark.calibrate is None else benchmark.calibrate


def _ceiling(trial: Trial, crew: Crew, progress: RunObserver) -> list[pa.Table]:
    """What the same workers reach against a model that does nothing; nothing where one of them does not answer."""
    progress.step(f"calibrating the client of {trial.cell.label}")
    most_s = 2 * trial.cell.load.timeout_s + _CALIBRATE_TIMEOUT_S
    try:
        return _all([each.calibrate.remote() for each in crew.actors], "calibrate", most_s)
    except (ClientError, RayError):
        return []


def _outcome(
    trial: Trial, gathered: Gathered, failure: str | None, statistics: Mapping[str, Any] | None
) -> tuple[str, str | None]:
    """A trial's status and the reason where it is not ok; `failure` is the server's."""
    if failure:
        return "failed", failure
    if hits := (statistics or {}).get("cache_hit"):
        return "failed", (
            f"{hits} requests were answered from Triton's response cache, and not by the model; "
            f"take response_cache out of the model's config.pbtxt, or start Triton without --cache-config"
        )
    if gathered.lost:
        return ("failed" if len(gathered.lost) == trial.cell.load.workers else "degraded"), _named(gathered.lost)
    rows = samples.measured(samples.merge(gathered.tables))
    if len(samples.succeeded(rows)) == 0:
        first = next((text for text in rows["error"].to_pylist() if text), "no request was sent")
        return "failed", f"no request succeeded; the first error was: {first}"
    return "ok", None


def _named(lost: Mapping[int, str]) -> str:
    return "lost: " + "; ".join(f"worker {number} {why}" for number, why in sorted(lost.items()))


def _facts(crew: Crew, lost: Mapping[int, str], counted: StatisticsTotal | None) -> dict[str, Any]:
    """What was observed that is not a sample."""
    workers = worker_facts(
        crew.actors, places=crew.places, before=crew.facts, clocks=crew.clocks, payloads=crew.payloads, lost=lost
    )
    return {
        "server_version": crew.server_version,
        "workers": workers,
        "server_statistics": _statistics(counted),
        "lost": _named(lost) if lost else None,
    }


def _telemetry(found: Telemetry) -> dict[str, Any]:
    """All but the rows, as JSON has it."""
    return {
        "node": found.node,
        "gpu_source": found.gpu_source,
        "problems": [asdict(each) for each in found.problems],
    }


def _statistics(total: StatisticsTotal | None) -> dict[str, Any] | None:
    """As JSON has them."""
    if total is None:
        return None
    batches = {str(size): count for size, count in total.counted.batches.items()}
    return {**asdict(total.counted), "batches": batches, "resets": total.resets}


def _identity(trial: Trial, benchmark: Benchmark, server: Running) -> dict[str, Any]:
    cell = trial.cell
    is_known = cell.server.kind == "local" or server.is_ours
    unknown = {"name": cell.model, "version": None, "sha256": None, "precision": None, "xla": None}
    return {
        "id": trial.id,
        "cell": cell.id,
        "round": trial.round,
        "label": cell.label,
        "server": server.facts,
        "model": describe_model(benchmark.models_conf, cell.model) if is_known else unknown,
        "signature": cell.signature,
        "load": asdict(cell.load),
        "payload_source": benchmark.images,
        "payload_encoding": cell.encoding,
        "lost": None,
    }


def _sentence(error: Exception) -> str:
    """An error's own words; Ray wraps what an actor raised in its traceback."""
    cause = getattr(error, "cause", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
