"""raybench run: measure, and report."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raybench import config
from raybench.cli.exit_codes import FAILED
from raybench.cli.measure_and_report import judged, measure_and_report, report_folder
from raybench.cli.measuring_process import Outcome
from raybench.cli.options import Flags, benchmark_flags, parse
from raybench.cli.report_command import details_flag
from raybench.cli.sections import SectionedCommand
from raybench.cli.usage_errors import WrongInput
from raybench.config import Benchmark, ConfigError, plan

if TYPE_CHECKING:
    from raybench.driver.run_observer import RunObserver
    from raybench.results.resuming import Resume


@click.command(cls=SectionedCommand)
@click.argument("benchmark", required=False, type=click.Path(dir_okay=False, path_type=Path))
@benchmark_flags
@details_flag
@click.option("--dry-run", is_flag=True, help="Print the trials in order and how long they may take, then stop.")
@click.option(
    "--resume",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Finish an interrupted run as it was configured; of the other flags it takes --keep-failed, --details, "
    "--ui and --dry-run.",
)
@click.option("--keep-failed", is_flag=True, help="With --resume: do not measure failed and damaged trials again.")
def run(
    benchmark: Path | None, dry_run: bool, resume: Path | None, keep_failed: bool, details: bool, **flags: Any
) -> None:
    """Measure every server under the same load, and print how they compare.

    BENCHMARK is an optional YAML file; flags override it.

    \b
    raybench run --workers 4                             Triton beside TensorFlow in process
    raybench run -m ./my_model --rounds 5                your SavedModel, with intervals
    raybench run -s triton --url triton=127.0.0.1:8001   a Triton that is already running
    raybench run --resume results/run-20260101T120000Z   the rest of an interrupted run
    """
    from raybench.analysis.requests_needed import check_supported

    if resume:
        _resume(resume, benchmark, flags, keep_failed=keep_failed, dry_run=dry_run, details=details)
        return
    try:
        if keep_failed:
            raise ConfigError("keep-failed is given; it goes with --resume: leave it out, or name the folder")
        loaded = config.load(benchmark, parse(flags))
        plan.trials(loaded)
        check_supported(loaded)
        if dry_run:
            from raybench.driver.resolved_loads import as_on_disk  # threads come along: before a run they must not

            loaded = as_on_disk(loaded)
            show_plan(plan.trials(loaded), loaded)
            return
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    sys.exit(_run_and_report(loaded, None, details=details))


def _resume(
    folder: Path, benchmark: Path | None, flags: Flags, *, keep_failed: bool, dry_run: bool, details: bool
) -> None:
    """Go on with a run, or say what is left of it."""
    from raybench.cli.resumed_run import nothing_left, show_left
    from raybench.results.resuming import Resume, left_to_measure

    resume = Resume(folder, keep_failed)
    try:
        given = [name for name, value in flags.items() if value not in (None, ()) and name != "ui"]
        if benchmark or given:
            what = str(benchmark) if benchmark else f"--{given[0].replace('_', '-')}"
            raise ConfigError(f"resume is {folder}, which has its own benchmark.yaml; leave out {what}")
        left = left_to_measure(resume)
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    if dry_run:
        show_left(left)
    elif not left.trials:
        click.echo(nothing_left(left))
        summary = report_folder(folder, Outcome(), is_detailed=details)
        sys.exit(judged(0 if summary else FAILED, summary))
    else:
        shown = left.benchmark.model_copy(update={"ui": flags["ui"]} if flags["ui"] else {})
        sys.exit(_run_and_report(shown, resume, details=details))


def show_plan(trials: Sequence[plan.Trial], benchmark: Benchmark) -> None:
    from raybench.results.earlier_runs import seconds_per_request

    for trial in trials:
        click.echo(trial.id)
    known_s, unknown = plan.estimate(trials, seconds_per_request(Path(benchmark.out)))
    click.echo(f"{len(trials)} trials; {_length(known_s, len(unknown), len({trial.cell.id for trial in trials}))}")


def _length(known_s: float, unknown: int, cells: int) -> str:
    """How long trials take, as far as that is known."""
    from raybench.analysis.plain_numbers import duration

    time = f"about {duration(known_s)}"
    if not unknown:
        return f"{time} by durations, starting times and earlier results"
    if unknown == cells:
        return f"duration unknown: no row has earlier results; starting the servers alone takes {time}"
    return f"more than {time}: {unknown} of {cells} rows have no earlier results"


def _run_and_report(benchmark: Benchmark, resume: "Resume | None", *, details: bool) -> int:
    def drive(observer: "RunObserver") -> None:
        from raybench.driver.run import run as drive_run  # Ray comes along

        drive_run(benchmark, observer, sys.argv, resume)

    return judged(*measure_and_report(benchmark, drive, goes_on="run", is_detailed=details))
