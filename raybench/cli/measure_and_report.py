"""What run and search have in common: measure with progress, then report what is on disk, however it ended."""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raybench.cli.console import for_progress, for_results, keep_printing
from raybench.cli.exit_codes import FAILED, INTERRUPTED, WRONG_USAGE
from raybench.cli.measuring_process import Outcome, Tell, measure_watched
from raybench.cli.report_command import print_summary, warned
from raybench.cli.usage_errors import WrongInput
from raybench.config import Benchmark, ConfigError

if TYPE_CHECKING:
    from raybench.analysis.summary import Summary
    from raybench.driver.run_observer import RunObserver

Drive = Callable[["RunObserver"], None]


def measure_and_report(
    benchmark: Benchmark, drive: Drive, *, goes_on: str | None, is_detailed: bool = False
) -> "tuple[int, Summary | None]":
    """Call `drive(observer)` in a process of its own and report; the exit code so far, and the summary if there is one.

    `goes_on` is the command whose --resume goes on with what was cut off; None where there is none.
    """
    keep_printing()
    in_flight_s = max(load.timeout for load in benchmark.loads)
    work = partial(_measure, benchmark, drive)
    outcome, reached = measure_watched(work, in_flight_s, prepare=_import_report)
    if outcome.code == WRONG_USAGE:
        raise WrongInput(str(outcome.sentence))
    if outcome.sentence:
        click.echo(f"Error: {outcome.sentence}", err=True)
    if reached.folder is None or not reached.folder.exists():
        return outcome.code, None
    try:
        summary = report_folder(reached.folder, outcome, is_detailed=is_detailed)
    except KeyboardInterrupt:
        outcome, summary = Outcome(INTERRUPTED), None
    if outcome.code:
        _print_way_on(reached.folder, goes_on=goes_on, is_reported=summary is not None)
    return outcome.code or (0 if summary else FAILED), summary


def judged(status: int, summary: "Summary | None") -> int:
    """The exit code of a command, with a last line that says whether it passed, and else the first reason why not."""
    from raybench.analysis.gates import failures

    found = () if status or summary is None else failures(summary)
    code = status or (found[0].code if found else 0)
    why = f": {found[0].sentence}" if found else ": interrupted" if status == INTERRUPTED else ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    if summary:
        click.echo(f"FAIL (exit {code}){why}{more}" if code else "PASS")
    return code


def _measure(benchmark: Benchmark, drive: Drive, tell: Tell) -> Outcome:
    """How a measurement ended."""
    from raybench.cli.progress import create_observer
    from raybench.driver.session import RunError
    from raybench.results import ResultsError

    try:
        with create_observer(benchmark.ui, for_progress(), tell) as observer:
            drive(observer)
    except ConfigError as error:
        return Outcome(WRONG_USAGE, str(error))
    except KeyboardInterrupt:
        return Outcome(INTERRUPTED)
    except (RunError, ResultsError) as error:
        return Outcome(FAILED, str(error))
    return Outcome()


def report_folder(folder: Path, outcome: Outcome, *, is_detailed: bool = False) -> "Summary | None":
    """Print what was measured and write it as a page; None, and a sentence, where the folder cannot be read."""
    from raybench.cli.progress.waiting import waiting
    from raybench.report import html
    from raybench.results import ResultsError, results_folder

    console = for_results()
    if outcome.is_lost:
        results_folder.note_loss(folder, str(outcome.sentence))
    try:
        with waiting("reading the results"):
            summary: Summary = print_summary(console, folder, is_detailed=is_detailed)
    except ResultsError as error:
        click.echo(f"Error: {error}", err=True)
        return None
    with waiting("drawing report.html"):
        path = warned(lambda: html.write(folder, summary))
    if path:
        console.print(f"page to look at: {path}", highlight=False, soft_wrap=True)
    return summary


def _import_report() -> None:
    import raybench.report.html
    import raybench.report.text  # noqa: F401


def _print_way_on(folder: Path, *, goes_on: str | None, is_reported: bool) -> None:
    """After a run that was cut off: how much of it is done, and the command for the rest."""
    where = shlex.quote(str(folder))
    if not is_reported:
        click.echo(f"print what was measured with: raybench report {where}")
    if goes_on:
        click.echo(f"{_done(folder)}measure the rest with: raybench {goes_on} --resume {where}")
    else:
        click.echo("a search cannot be resumed: start it again")


def _done(folder: Path) -> str:
    """Such as "2 of 12 trials done; "; nothing where the folder does not say."""
    from raybench.results.resuming import Resume, left_to_measure

    try:
        left = left_to_measure(Resume(folder, keep_failed=True))
    except ConfigError:
        return ""
    return f"{left.kept} of {left.kept + len(left.trials)} trials done; "
