"""What a run and a search rest on: a Ray, the images, a results folder, and a server that is started anew."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayError

from raybench.clients.grpc.connection_credentials import ConnectionCredentials, read_credentials
from raybench.config import Benchmark
from raybench.driver import preflight, server_host
from raybench.driver.cluster import Cluster, connected
from raybench.driver.input_shards import Pictures
from raybench.driver.loss import recover
from raybench.driver.node_liveness import LostError
from raybench.driver.placement import Placement, placed
from raybench.driver.recorders import Recorders, recorders
from raybench.driver.run_observer import RunObserver
from raybench.driver.trial import Run
from raybench.models.reference import Reference
from raybench.results import results_folder
from raybench.results.results_folder import Observed, StoreError

_LONGEST_ERROR = 500
_MOST_NAMED = 5
_JOBS_COPY = "working_dir_files"  # a folder of Ray's, with what `ray job submit --working-dir` brought


class RunError(Exception):
    """A run that cannot go on, though nothing is wrong with its configuration: one sentence."""


@dataclass(frozen=True)
class Stage:
    """Everything that the trials of a run share, and their images."""

    shared: Run
    pictures: Pictures


@contextmanager
def staged(
    benchmark: Benchmark, progress: RunObserver, open_folder: Callable[[dict[str, Any]], Path]
) -> Iterator[Stage]:
    """Check what can be known before, start or join Ray, read the images, and open the results folder.

    `open_folder` is called with facts about the environment. Raises ConfigError before any server starts, and RunError
    where Ray fails inside the block.
    """
    credentials = read_credentials(benchmark)
    preflight.check(benchmark, credentials, progress)
    progress.step("starting Ray")
    with connected(benchmark, progress.step) as cluster:
        progress.note(_dashboard(cluster))
        try:
            placement = placed(benchmark, is_hosted=not cluster.is_ours, say=progress.step)
            server_host.check(benchmark, placement)
            with recorders(placement.server.id) as recording:
                yield from _opened(benchmark, credentials, cluster, placement, recording, progress, open_folder)
        except LostError as error:
            raise RunError(str(error)) from error
        except RayError as error:
            raise RunError(f"Ray failed: {' '.join(str(error).split())[:_LONGEST_ERROR]}") from error


def _opened(
    benchmark: Benchmark,
    credentials: ConnectionCredentials,
    cluster: Cluster,
    placement: Placement,
    recording: Recorders,
    progress: RunObserver,
    open_folder: Callable[[dict[str, Any]], Path],
) -> Iterator[Stage]:
    progress.step(f"reading images ({benchmark.images})")
    pictures = Pictures(benchmark)
    if pictures.unreadable:
        progress.note(_skipped(pictures.unreadable))
    folder = open_folder({"ray_cluster": vars(cluster), "unreadable_images": pictures.unreadable})
    if _JOBS_COPY in folder.resolve().parts:
        progress.note(f"{folder} is in the job's copy of its folder, which Ray deletes: give --out one that stays")
    reference = Reference(benchmark.models_conf.parent.resolve())
    shared = Run(
        benchmark=benchmark,
        folder=folder,
        placement=placement,
        progress=progress,
        reference=reference,
        credentials=credentials,
        recorders=recording,
    )
    try:
        yield Stage(shared, pictures)
    finally:
        with suppress(StoreError):  # a full disk has been told by then
            results_folder.finish(folder)


def keep(trials: Iterable[Observed], stage: Stage) -> None:
    """Write each trial before the next begins; an interrupt is raised after the trial that it cut short is written.

    Raises LostError where a worker was lost and the run shall stop then.
    """
    shared = stage.shared
    for observed in trials:
        results_folder.save(shared.folder, observed)
        shared.progress.end(observed.record)
        if observed.record["status"] == "interrupted":
            raise KeyboardInterrupt
        if lost := observed.record.get("lost"):
            recover(shared.benchmark, stage.pictures, shared.progress, lost)


def _skipped(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"skipped {len(names)} unreadable images: {', '.join(names[:_MOST_NAMED])}{more}"


def _dashboard(cluster: Cluster) -> str:
    if cluster.dashboard_url is None:
        return "Ray dashboard: this cluster has none"
    return f"Ray dashboard: {cluster.dashboard_url} (it asks for the token that `ray get-auth-token` prints)"
