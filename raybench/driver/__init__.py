"""Ray's home: run a benchmark from first server to last sample."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from ray.exceptions import RayError

from raybench import images, plan, store
from raybench.config import IMAGE_PX, Benchmark, ConfigError
from raybench.driver import preflight
from raybench.driver.cluster import Cluster, connected
from raybench.driver.trial import Run, measure, not_measured
from raybench.plan import Trial
from raybench.report.live import Progress
from raybench.servers import ServerError, ServerUnavailable, running
from raybench.store import Observed, StoreError
from raybench.verify import Reference

_LONGEST_ERROR = 500
_MOST_NAMED = 5


class RunError(Exception):
    """A run that cannot go on, though nothing is wrong with its configuration: one sentence."""


def run(
    benchmark: Benchmark,
    progress: Progress,
    command: list[str],
    on_folder: Callable[[Path], object],
    resume: Path | None = None,
) -> None:
    """Measure every trial of a benchmark; each is on disk, in the folder told to `on_folder`, before the next begins.

    With `resume`, the results folder of a run that was cut off, its finished trials are not measured again.

    Raises ConfigError before any server starts or load is sent, RunError or StoreError where the run cannot go on, and
    KeyboardInterrupt after the trial that an interrupt cut short has been written.
    """
    finished = store.finished(resume) if resume else frozenset()

    def open_folder(facts: dict[str, Any]) -> Path:
        folder = store.resume(resume, command) if resume else store.create(benchmark, command, facts=facts)
        on_folder(folder)
        return folder

    preflight.check(benchmark, progress)
    progress.step("starting Ray")
    with connected(benchmark) as cluster:
        progress.say(_dashboard(cluster))
        try:
            _measure(benchmark, cluster, progress, open_folder, finished)
        except RayError as error:
            raise RunError(f"Ray failed: {' '.join(str(error).split())[:_LONGEST_ERROR]}") from error


def _measure(
    benchmark: Benchmark,
    cluster: Cluster,
    progress: Progress,
    open_folder: Callable[[dict[str, Any]], Path],
    finished: frozenset[str],
) -> None:
    progress.step(f"reading images ({benchmark.images})")
    pictures = _images(benchmark)
    if pictures.unreadable:
        progress.say(_skipped(pictures.unreadable))
    trials = [trial for trial in plan.trials(benchmark) if trial.id not in finished]
    shards = {n: images.shards(pictures, n) for n in {trial.cell.load.workers for trial in trials}}
    folder = open_folder({"ray_cluster": vars(cluster), "unreadable_images": pictures.unreadable})
    progress.begin(len(trials))
    reference = Reference(benchmark.models_conf.parent.resolve())
    shared = Run(benchmark=benchmark, folder=folder, gpus=cluster.gpus, progress=progress, reference=reference)
    try:
        for _, group in groupby(trials, key=lambda trial: (trial.round, trial.cell.server)):
            for observed in _measure_on_one_server(list(group), shared, shards):
                store.save(folder, observed)
                progress.end(observed.record)
                if observed.record["status"] == "interrupted":
                    raise KeyboardInterrupt
    finally:
        with suppress(StoreError):  # a full disk has been told by then
            store.finish(folder)


def _measure_on_one_server(trials: list[Trial], shared: Run, shards: dict[int, Any]) -> Iterator[Observed]:
    """The trials of one server in one round, with the server running around them; one that fails is started anew."""
    left = list(trials)
    try:
        while left:
            shared.progress.step(f"starting {left[0].cell.server.label}")
            with running(left[0].cell.server, shared.benchmark) as server:
                while left and server.failure() is None:
                    trial = left.pop(0)
                    shared.progress.start(trial)
                    yield measure(trial, shared, server, shards[trial.cell.load.workers])
    except ServerError as error:
        status = "skipped" if isinstance(error, ServerUnavailable) else "failed"
        for trial in left:
            shared.progress.start(trial)
            yield not_measured(trial, shared.benchmark, status=status, reason=str(error))


def _images(benchmark: Benchmark) -> images.Images:
    """The one dataset of the run."""
    try:
        return images.load(benchmark.images, preflight.image_count(benchmark), size_px=IMAGE_PX, seed=benchmark.seed)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _skipped(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"skipped {len(names)} unreadable images: {', '.join(names[:_MOST_NAMED])}{more}"


def _dashboard(cluster: Cluster) -> str:
    if cluster.dashboard_url is None:
        return "Ray dashboard: this cluster has none"
    return f"Ray dashboard: {cluster.dashboard_url} (it asks for the token that `ray get-auth-token` prints)"
