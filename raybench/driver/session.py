"""What a run and a search rest on: a Ray, the items to send, a results folder, and what all of their trials share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from ray.exceptions import RayError

from raybench.clients.grpc.connection_credentials import ConnectionCredentials, read_credentials
from raybench.config import STOP, Benchmark, plan
from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal
from raybench.driver import preflight, server_host
from raybench.driver.cluster import Cluster, connected
from raybench.driver.cluster_processes import vital_processes
from raybench.driver.deferred_interrupts import deferred_interrupts
from raybench.driver.endpoints import Signatures
from raybench.driver.input_shards import InputShards
from raybench.driver.loss import recover
from raybench.driver.placement import place_servers
from raybench.driver.ray_errors import sentence
from raybench.driver.ray_nodes import LostError, here
from raybench.driver.recorders import recorders
from raybench.driver.resolved_loads import models_conf_of
from raybench.driver.run_context import RunContext, Session
from raybench.driver.run_observer import RunObserver
from raybench.driver.sampled_replies import is_compared
from raybench.inputs.input_sources import inputs_of
from raybench.inputs.source import InputSource
from raybench.models.reference import tensorflow_reference
from raybench.models.saved_models import read_models_conf
from raybench.results import ResultsError, results_folder
from raybench.results.results_folder import ObservedTrial
from raybench.results.run_info import RayClusterInfo
from raybench.results.run_lock import locked
from raybench.servers import bind_warning, header_leak_warning

_LONGEST_ERROR = 500
_MOST_NAMED = 5
_JOBS_COPY = "working_dir_files"  # a folder of Ray's, with what `ray job submit --working-dir` brought


class RunError(Exception):
    """A run that cannot go on, though nothing is wrong with its configuration: one sentence."""


@contextmanager
def open_session(benchmark: Benchmark, observer: RunObserver) -> Iterator[Session]:
    """Check what can be known before, start or join Ray, and make the items.

    Raises ConfigError before any server starts, and RunError where Ray fails inside the block.
    """
    credentials = read_credentials(benchmark)
    source = inputs_of(benchmark)
    with models_conf_of(benchmark) as models_conf:
        benchmark, signatures = preflight.check(benchmark, models_conf, source, credentials, observer)
        with _connected_session(benchmark, models_conf, source, signatures, credentials, observer) as session:
            yield session


@contextmanager
def _connected_session(
    benchmark: Benchmark,
    models_conf: Path,
    source: InputSource,
    signatures: Signatures,
    credentials: ConnectionCredentials,
    observer: RunObserver,
) -> Iterator[Session]:
    observer.step("starting Ray")
    with (
        tensorflow_reference(models_conf, soon=_verified(benchmark, models_conf)) as reference,
        connected(benchmark, observer.step) as cluster,
    ):
        observer.note(_dashboard(cluster))
        observer.relies_on(vital_processes(cluster.session_folder, here()))
        try:
            placement = place_servers(benchmark, is_hosted=not cluster.is_ours, say=observer.step)
            server_host.check(benchmark, models_conf, placement)
            with recorders(placement.server.id) as recording:
                observer.step(f"reading inputs ({source.name})")
                yield Session(
                    benchmark=benchmark,
                    observer=observer,
                    cluster=cluster,
                    placement=placement,
                    recorders=recording,
                    inputs=InputShards(benchmark, source, signatures),
                    models_conf=models_conf,
                    reference=reference,
                    credentials=credentials,
                )
        except LostError as error:
            raise RunError(str(error)) from error
        except RayError as error:
            raise RunError(f"Ray failed: {sentence(error)[:_LONGEST_ERROR]}") from error
        finally:
            observer.relies_on({})  # a Ray that we started is ended next


@contextmanager
def open_folder(
    session: Session, command: list[str], *, resume: Path | None = None, goal: Goal | TuningGoal | None = None
) -> Iterator[RunContext]:
    """Make the results folder, or take up that of a run that was cut off; its end is noted when the block ends.

    A new folder is locked meanwhile; one to resume is already.
    """
    observer, unreadable = session.observer, session.inputs.unreadable
    if unreadable:
        observer.note(_skipped(unreadable))
    for rows in session.inputs.skipped:
        observer.note(str(rows))
    if resume:
        folder = results_folder.resume(resume, command)
    else:
        folder = results_folder.create(
            session.benchmark,
            command,
            ray_cluster=_info(session.cluster),
            unreadable_images=unreadable,
            goal=goal,
        )
    observer.opened(folder)
    for warning in _warnings(session.benchmark):
        observer.warn(warning)
    if _JOBS_COPY in folder.resolve().parts:
        observer.note(f"{folder} is in the job's copy of its folder, which Ray deletes: choose another with --out")
    with nullcontext() if resume else locked(folder):
        try:
            yield RunContext(session, folder)
        finally:
            with suppress(ResultsError, OSError):  # a full disk, or a folder that is gone, was reported by then
                results_folder.finish(folder)


def save(trial: ObservedTrial, context: RunContext) -> None:
    """Write a trial before the next begins.

    Raises KeyboardInterrupt after the trial that an interrupt cut short, and LostError where a worker was lost and the
    run cannot or shall not go on.
    """
    with deferred_interrupts() as is_interrupted:
        results_folder.save(context.folder, trial)
    context.observer.end(trial)
    if trial.was_interrupted or is_interrupted():
        raise KeyboardInterrupt
    if lost := trial.record.lost:
        if context.benchmark.on_loss == STOP:
            raise LostError(f"{lost}; the run ends (on-loss is {STOP}): continue it with --resume")
        recover(context.session.inputs, context.observer, lost)


def _verified(benchmark: Benchmark, models_conf: Path) -> Sequence[tuple[str, str]]:
    """The models and signatures whose answers will be compared with those of TensorFlow here, which can run them."""
    try:
        here = {model.name for model in read_models_conf(models_conf)}
    except ValueError:
        return []
    cells = [trial.cell for trial in plan.first_trials(benchmark) if is_compared(trial, benchmark)]
    return [*dict.fromkeys((model, cell.signature) for cell in cells for model in cell.models if model in here)]


def _info(cluster: Cluster) -> RayClusterInfo:
    return RayClusterInfo(
        dashboard_url=cluster.dashboard_url,
        is_ours=cluster.is_ours,
        nodes=cluster.nodes,
        cpus=cluster.cpus,
        gpus=cluster.gpus,
    )


def _warnings(benchmark: Benchmark) -> list[str]:
    """Who could reach the servers that start, and who could read the headers of those by url; each once."""
    servers = benchmark.servers
    found = [
        *(bind_warning(server, benchmark.server_bind) for server in servers),
        *(header_leak_warning(server, benchmark) for server in servers),
    ]
    return [sentence for sentence in dict.fromkeys(found) if sentence]


def _skipped(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"skipped {len(names)} unreadable images: {', '.join(names[:_MOST_NAMED])}{more}"


def _dashboard(cluster: Cluster) -> str:
    if cluster.dashboard_url is None:
        return "Ray dashboard: this cluster has none"
    return f"Ray dashboard: {cluster.dashboard_url} (log in with the token that `ray get-auth-token` prints)"
