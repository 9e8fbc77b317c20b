"""A run, from the first server to the last sample."""

from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import groupby

from raybench.config import Benchmark, plan
from raybench.config.plan import Trial
from raybench.driver.run_context import RunContext
from raybench.driver.run_observer import RunObserver
from raybench.driver.server_host import start_server
from raybench.driver.session import open_folder, open_session, save
from raybench.driver.trial import measure, not_measured
from raybench.results.resuming import Resume, left_to_measure
from raybench.results.run_lock import locked
from raybench.servers import ServerError


def run(benchmark: Benchmark, observer: RunObserver, command: list[str], resume: Resume | None = None) -> None:
    """Measure every trial of a benchmark; each is on disk before the next begins.

    With `resume`, the results folder of a run that was cut off: measure what is left. No other process may write to it.

    Raises ConfigError before any server starts or load is sent, RunError or ResultsError where the run cannot go on,
    and KeyboardInterrupt after the trial that an interrupt cut short has been written.
    """
    folder = resume.folder if resume else None
    with locked(folder) if folder else nullcontext():
        left = left_to_measure(resume) if resume else None
        with open_session(benchmark, observer) as session, open_folder(session, command, resume=folder) as context:
            trials = left.trials if left else plan.trials(session.benchmark)
            for trial in trials:
                session.inputs.shards_of(trial.cell)  # before any worker or server is there
            observer.plan(trials)
            for _, of_one_server in groupby(trials, key=lambda trial: (trial.round, trial.cell.server)):
                measure_on_one_server(tuple(of_one_server), context)


def measure_on_one_server(trials: Sequence[Trial], context: RunContext) -> None:
    """Run the trials of one server in one round; if one of them kills the server, start it again for the next."""
    left, server_spec = deque(trials), trials[0].cell.server
    cells = plan.cells(context.benchmark, server_spec)
    try:
        while left:
            with start_server(server_spec, cells, context) as server:
                while left and server.failure() is None:
                    trial = left.popleft()
                    save(measure(trial, context, server, is_servers_last=not left), context)
    except ServerError as error:
        for trial in left:
            save(not_measured(trial, context, error), context)
