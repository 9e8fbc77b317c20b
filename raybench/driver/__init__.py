"""Ray's home: run a benchmark from first server to last sample."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from raybench import images, plan, store
from raybench.config import IMAGE_PX, VARIANTS, Benchmark, ConfigError
from raybench.driver.cluster import Cluster, connected
from raybench.driver.trial import measure, not_measured
from raybench.guardian import guarded
from raybench.plan import Trial
from raybench.report.live import Progress
from raybench.saved_models import read_models_conf, read_signatures
from raybench.servers import ServerError, ServerUnavailable, running

_EXPORT_TIMEOUT_S = 1200


def run(benchmark: Benchmark, progress: Progress, command: list[str], on_folder: Callable[[Path], object]) -> None:
    """Measure every trial of a benchmark; each is on disk, in the folder told to `on_folder`, before the next begins.

    Raises ConfigError before any server starts or load is sent, and KeyboardInterrupt after the trial that an
    interrupt cut short has been written.
    """
    _export_missing(benchmark, progress)
    _check_signatures(benchmark)
    progress.step("starting Ray")
    with connected(benchmark) as cluster:
        progress.say(_dashboard(cluster))
        progress.step(f"reading images ({benchmark.images})")
        pictures = _images(benchmark)
        if pictures.unreadable:
            progress.say(f"skipped {len(pictures.unreadable)} unreadable images: {', '.join(pictures.unreadable)}")
        trials = plan.trials(benchmark)
        shards = {n: images.shards(pictures, n) for n in {trial.cell.load.workers for trial in trials}}
        facts = {"ray_cluster": vars(cluster), "unreadable_images": pictures.unreadable}
        folder = store.create(benchmark, command, facts=facts)
        on_folder(folder)
        progress.begin(len(trials))
        try:
            for _, group in groupby(trials, key=lambda trial: (trial.round, trial.cell.server)):
                for observed in _measure_on_one_server(list(group), benchmark, shards, cluster, progress):
                    store.save(folder, observed)
                    progress.end(observed.record)
                    if observed.record["status"] == "interrupted":
                        raise KeyboardInterrupt
        finally:
            store.finish(folder)


def _measure_on_one_server(
    trials: list[Trial], benchmark: Benchmark, shards: dict[int, Any], cluster: Cluster, progress: Progress
) -> Iterator[Any]:
    """The trials of one server in one round, with the server running around them; one that dies is started anew."""
    left = list(trials)
    try:
        while left:
            progress.step(f"starting {left[0].cell.server.label}")
            with running(left[0].cell.server, benchmark) as server:
                while left and not server.has_died:
                    trial = left[0]
                    progress.start(trial)
                    refs = shards[trial.cell.load.workers]
                    observed = measure(trial, benchmark, server, refs, cluster.gpus, progress)
                    left.pop(0)
                    yield observed
    except ServerError as error:
        status = "skipped" if isinstance(error, ServerUnavailable) else "failed"
        for trial in left:
            progress.start(trial)
            yield not_measured(trial, benchmark, status=status, reason=str(error))


def _images(benchmark: Benchmark) -> images.Images:
    """The one dataset of the run: enough for every request of a trial to differ, within the memory budget."""
    in_flight = benchmark.workers * benchmark.concurrency
    requests = benchmark.request_count or 16 * in_flight
    per_worker = -(-requests // benchmark.workers)
    most = max(1, images.most_images(IMAGE_PX) // (benchmark.workers * benchmark.batch_size))
    count = benchmark.workers * min(per_worker, most) * benchmark.batch_size
    try:
        return images.load(benchmark.images, count, size_px=IMAGE_PX, seed=benchmark.seed)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_signatures(benchmark: Benchmark) -> None:
    """Refuse a signature that our own servers would refuse for every request."""
    if not _needs_models(benchmark):
        return
    for entry in read_models_conf(benchmark.models_conf):
        if entry.name not in benchmark.model:
            continue
        try:
            there = read_signatures(entry.base_path / str(entry.versions()[-1]))
        except ValueError:
            continue  # the server says it better, and the others can still be measured
        usable = [name for name, signature in there.items() if list(signature.inputs) == ["images"]]
        if benchmark.signature not in usable:
            raise ConfigError(
                f"signature is {benchmark.signature}; model {entry.name} has {', '.join(usable) or 'none'} that "
                f"takes `images` alone"
            )


def _needs_models(benchmark: Benchmark) -> bool:
    return any(s.kind in ("local", "triton") and not s.url for s in benchmark.servers)


def _export_missing(benchmark: Benchmark, progress: Progress) -> None:
    """Export the asked models that models.conf lacks, where a server of ours needs them.

    TensorFlow lives in a process of its own for that: the driver never holds it.
    """
    if not _needs_models(benchmark):
        return
    there = _models_there(benchmark)
    for model in (name for name in benchmark.model if name not in there):
        architecture, _, variant = model.partition("-")
        _check_exportable(benchmark, model, variant, there)
        progress.step(f"exporting {model} to {benchmark.models}")
        command = [sys.executable, "-m", "raybench", "export", architecture, "--out", benchmark.models]
        command += ["--variants", variant]
        try:
            done = subprocess.run(
                guarded(command), capture_output=True, text=True, timeout=_EXPORT_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"model is {model}; its export did not end within {_EXPORT_TIMEOUT_S} s") from error
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ConfigError(
                f"model is {model}; {benchmark.models_conf} has {', '.join(sorted(there)) or 'no models'}, "
                f"and it cannot be exported: {last.removeprefix('Error: ')}"
            )


def _check_exportable(benchmark: Benchmark, model: str, variant: str, there: set[str]) -> None:
    """An export of ours never replaces what is there."""
    known = f"{benchmark.models_conf} has {', '.join(sorted(there)) or 'no models'}"
    if variant not in VARIANTS:
        raise ConfigError(f"model is {model}; {known}, and only ARCHITECTURE-no-opt and -xla-amp can be exported")
    if (Path(benchmark.models) / model).exists():
        raise ConfigError(
            f"model is {model}; {known}, but the folder {benchmark.models}/{model} is there: enter or move it"
        )


def _models_there(benchmark: Benchmark) -> set[str]:
    if not benchmark.models_conf.exists():
        return set()
    try:
        return {model.name for model in read_models_conf(benchmark.models_conf)}
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _dashboard(cluster: Cluster) -> str:
    if cluster.dashboard_url is None:
        return "Ray dashboard: this cluster has none"
    return f"Ray dashboard: {cluster.dashboard_url} (it asks for the token that `ray get-auth-token` prints)"
