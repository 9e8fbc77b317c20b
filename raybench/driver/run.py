"""A run, from the first server to the last sample."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from raybench.config import Benchmark, plan
from raybench.config.plan import Trial
from raybench.driver.run_observer import RunObserver
from raybench.driver.server_host import serving
from raybench.driver.session import Stage, keep, staged
from raybench.driver.trial import measure, not_measured
from raybench.results import results_folder
from raybench.results.results_folder import Observed
from raybench.servers import ServerError, ServerUnavailable


def run(
    benchmark: Benchmark,
    progress: RunObserver,
    command: list[str],
    on_folder: Callable[[Path], object],
    resume: Path | None = None,
) -> None:
    """Measure every trial of a benchmark; each is on disk, in the folder told to `on_folder`, before the next begins.

    With `resume`, the results folder of a run that was cut off, its finished trials are not measured again.

    Raises ConfigError before any server starts or load is sent, RunError or StoreError where the run cannot go on, and
    KeyboardInterrupt after the trial that an interrupt cut short has been written.
    """
    finished = results_folder.finished(resume) if resume else frozenset()

    def open_folder(facts: dict[str, Any]) -> Path:
        folder = (
            results_folder.resume(resume, command) if resume else results_folder.create(benchmark, command, facts=facts)
        )
        on_folder(folder)
        return folder

    with staged(benchmark, progress, open_folder) as stage:
        trials = [trial for trial in plan.trials(benchmark) if trial.id not in finished]
        for workers in {trial.cell.load.workers for trial in trials}:
            stage.pictures.dealt(workers)  # before any worker or server is there
        progress.plan(trials)
        for _, group in groupby(trials, key=lambda trial: (trial.round, trial.cell.server)):
            keep(_measure_on_one_server(list(group), stage), stage)


def _measure_on_one_server(trials: list[Trial], stage: Stage) -> Iterator[Observed]:
    """The trials of one server in one round, with the server running around them; one that fails is started anew."""
    left, shared = list(trials), stage.shared
    try:
        while left:
            shared.progress.step(f"starting {left[0].cell.server.label}")
            shared.recorders.before(left[0].cell.server)
            with serving(left[0].cell.server, shared.benchmark, shared.credentials, shared.placement) as server:
                while left and server.failure() is None:
                    trial = left.pop(0)
                    shared.progress.start(trial)
                    yield measure(trial, shared, server, stage.pictures.dealt(trial.cell.load.workers))
    except ServerError as error:
        status = "skipped" if isinstance(error, ServerUnavailable) else "failed"
        for trial in left:
            shared.progress.start(trial)
            yield not_measured(trial, shared.benchmark, status=status, reason=str(error))
