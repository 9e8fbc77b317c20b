"""What run and search have in common: measure with progress, then report what is on disk, however it ended."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from raybench.cli.console import terminal
from raybench.cli.exit_codes import FAILED, INTERRUPTED
from raybench.cli.report_command import print_summary, warned
from raybench.cli.usage_errors import WrongInput
from raybench.config import Benchmark, ConfigError

if TYPE_CHECKING:
    from raybench.analysis.summary import Summary
    from raybench.driver.run_observer import RunObserver


def measure_and_report(benchmark: Benchmark, drive: "Callable[[RunObserver], None]") -> "tuple[int, Summary | None]":
    """Call `drive(observer)` and report; the exit code so far, and the summary if there is a results folder."""
    from raybench.cli.progress import create_observer

    console = terminal()
    observer = create_observer(benchmark.ui, console)
    status = _measure(observer, drive)
    return status, _report(console, observer.folder) if observer.folder else None


def _measure(observer: "RunObserver", drive: "Callable[[RunObserver], None]") -> int:
    """The exit code of a measurement; raises WrongInput where the configuration is wrong."""
    from raybench.driver.session import RunError
    from raybench.results import ResultsError

    try:
        with observer:
            drive(observer)
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    except KeyboardInterrupt:
        return INTERRUPTED
    except (RunError, ResultsError) as error:
        click.echo(f"Error: {error}", err=True)
        return FAILED
    return 0


def _report(console: Console, folder: Path) -> "Summary":
    """Print what was measured and write it as a page."""
    from raybench.report import html

    summary = print_summary(console, folder)
    if path := warned(lambda: html.write(folder, summary)):
        console.print(f"to look at: {path}", highlight=False, soft_wrap=True)
    return summary
