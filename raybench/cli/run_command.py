"""raybench run: measure, and report."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raybench import config
from raybench.cli.measure_and_report import judged, measure_and_report
from raybench.cli.options import Flags, benchmark_flags, parse
from raybench.cli.usage_errors import WrongInput
from raybench.config import Benchmark, ConfigError, plan

if TYPE_CHECKING:
    from raybench.driver.run_observer import RunObserver


@click.command()
@click.argument("benchmark", required=False, type=click.Path(dir_okay=False, path_type=Path))
@benchmark_flags
@click.option("--dry-run", is_flag=True, help="Print the trials in order and how long they may take, and stop.")
@click.option(
    "--resume",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Go on with a run that was cut off, as it was configured; takes no other flags.",
)
def run(benchmark: Path | None, dry_run: bool, resume: Path | None, **flags: Any) -> None:
    """Measure every server under the same load, and report; BENCHMARK.yaml is optional, flags override it.

    \b
    raybench run --workers 4
    raybench run --workers 2 --concurrency 4 -m resnet50-no-opt -b 16 --instances 1,2 --rounds 5
    raybench run -s triton --url triton=127.0.0.1:8001 --request-count 200
    raybench run --resume results/run-20260101T120000Z
    """
    from raybench.analysis.threshold_outcomes import check_supported

    try:
        loaded = _resumed(resume, benchmark, flags) if resume else config.load(benchmark, parse(flags))
        trials = plan.trials(loaded)
        if not resume:
            check_supported(loaded)
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    if dry_run:
        show_plan(trials, loaded)
        return
    sys.exit(_run_and_report(loaded, resume))


def _resumed(folder: Path, benchmark: Path | None, flags: Flags) -> Benchmark:
    given = [name for name, value in flags.items() if value not in (None, ())]
    if benchmark or given:
        what = str(benchmark) if benchmark else f"--{given[0].replace('_', '-')}"
        raise ConfigError(f"resume is {folder}, which has its own benchmark.yaml; leave out {what}")
    return config.load(folder / "benchmark.yaml", {})


def show_plan(trials: Sequence[plan.Trial], benchmark: Benchmark) -> None:
    from raybench.results.results_folder import seconds_per_request

    for trial in trials:
        click.echo(trial.id)
    known_s, unknown = plan.estimate(trials, seconds_per_request(Path(benchmark.out)))
    click.echo(f"{len(trials)} trials; {_length(known_s, len(unknown), len({trial.cell.id for trial in trials}))}")


def _length(known_s: float, unknown: int, cells: int) -> str:
    """How long trials take, as far as that is known."""
    minutes = f"about {known_s / 60:.0f} min"
    if not unknown:
        return f"{minutes} by earlier results and starting times"
    if unknown == cells:
        return f"how long they take is not known: no cell has earlier results; starting them alone takes {minutes}"
    return (
        f"more than {minutes} by earlier results and starting times: {unknown} of {cells} cells have no earlier results"
    )


def _run_and_report(benchmark: Benchmark, resume: Path | None) -> int:
    def drive(observer: "RunObserver") -> None:
        from raybench.driver.run import run as drive_run  # Ray comes along

        drive_run(benchmark, observer, sys.argv, resume)

    return judged(*measure_and_report(benchmark, drive, goes_on=True))
