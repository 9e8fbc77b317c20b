"""What run and search have in common: measure with progress, then report what is on disk, however it ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from raybench.cli.base import WrongInput, terminal, warn_of_exposure, warn_of_listeners
from raybench.cli.report_command import print_summary, warned
from raybench.cli.signals import INTERRUPTED
from raybench.config import Benchmark, ConfigError


def measured(benchmark: Benchmark, drive: Callable[[Any, Callable[[Path], None]], None]) -> tuple[int, Any | None]:
    """Call `drive(progress, on_folder)` and report; the exit code so far, and the summary if there is one."""
    from raybench.cli.progress import create_observer
    from raybench.driver.session import RunError
    from raybench.results import ResultsError

    console = terminal()
    status = 0
    folders: list[Path] = []

    def begun(folder: Path) -> None:
        folders.append(folder)
        warn_of_exposure(benchmark.servers, benchmark.server_bind)
        warn_of_listeners(benchmark)

    try:
        with create_observer(benchmark.ui, console) as shown:
            drive(shown, begun)
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    except KeyboardInterrupt:
        status = INTERRUPTED
    except (RunError, ResultsError) as error:
        click.echo(f"Error: {error}", err=True)
        status = 1
    return status, _reported(console, folders[0]) if folders else None


def _reported(console: Console, folder: Path) -> Any:
    """Print what was measured and write it as a page."""
    from raybench.report import html

    summary = print_summary(console, folder)
    if path := warned(lambda: html.write(folder, summary)):
        console.print(f"to look at: {path}", highlight=False, soft_wrap=True)
    return summary
