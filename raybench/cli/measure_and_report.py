"""What run and search have in common: measure with progress, then report what is on disk, however it ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from raybench.cli.console import print_bind_warnings, print_header_leak_warnings, terminal
from raybench.cli.exit_codes import INTERRUPTED
from raybench.cli.report_command import print_summary, warned
from raybench.cli.usage_errors import WrongInput
from raybench.config import Benchmark, ConfigError


def measure_and_report(
    benchmark: Benchmark, drive: Callable[[Any, Callable[[Path], None]], None]
) -> tuple[int, Any | None]:
    """Call `drive(progress, on_folder)` and report; the exit code so far, and the summary if there is one."""
    console = terminal()
    folders: list[Path] = []

    def on_folder(folder: Path) -> None:
        folders.append(folder)
        print_bind_warnings(benchmark.servers, benchmark.server_bind)
        print_header_leak_warnings(benchmark)

    status = _measure(benchmark, console, lambda shown: drive(shown, on_folder))
    return status, _report(console, folders[0]) if folders else None


def _measure(benchmark: Benchmark, console: Console, drive: Callable[[Any], None]) -> int:
    """The exit code of a measurement; raises WrongInput where the configuration is wrong."""
    from raybench.cli.progress.live import progress
    from raybench.driver.session import RunError
    from raybench.results.results_folder import StoreError

    try:
        with progress(benchmark.ui, console) as shown:
            drive(shown)
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    except KeyboardInterrupt:
        return INTERRUPTED
    except (RunError, StoreError) as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return 0


def _report(console: Console, folder: Path) -> Any:
    """Print what was measured and write it as a page."""
    from raybench.report import html

    summary = print_summary(console, folder)
    if path := warned(lambda: html.write(folder, summary)):
        console.print(f"to look at: {path}", highlight=False, soft_wrap=True)
    return summary
