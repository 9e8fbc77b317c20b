"""raybench report: what a results folder says, again."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from raybench.cli.console import for_results
from raybench.cli.exit_codes import FAILED
from raybench.cli.usage_errors import WrongInput

_WITHOUT_NOTES = ("csv", "html")  # what is damaged is said on stderr too: a number is not read beside it
_FORMATS = ("text", "markdown", "csv", "json", "junit", "html")
details_flag = click.option(
    "--details", is_flag=True, help="Print memory, CPU and where request time went too, by model and by node."
)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(_FORMATS),
    default="text",
    show_default=True,
    help="Format of the output; csv has perf_analyzer's header, html rewrites report.html and prints its path.",
)
@details_flag
def report(folder: Path, kind: str, details: bool) -> None:
    """Print the results of a run again, finished or not, and renew its summary.json.

    \b
    raybench report results/run-20260101T120000Z --details
    raybench report results/run-20260101T120000Z --format markdown
    """
    from raybench.results import ResultsError

    try:
        summary = print_summary(for_results(), folder, kind, is_detailed=details)
    except ResultsError as error:
        raise WrongInput(str(error)) from error
    if summary.damaged:
        sys.exit(FAILED)


def print_summary(console: Console, folder: Path, kind: str = "text", *, is_detailed: bool = False) -> Any:
    """Print a results folder in one format, and renew its summary.json; raises ResultsError."""
    from raybench.report import report as derive
    from raybench.report import save

    summary = derive(folder)
    if kind == "html":
        from raybench.report import html

        click.echo(html.write(folder, summary))
    elif kind == "text":
        from raybench.report.text import print_report

        print_report(console, summary, folder, is_detailed=is_detailed)
    elif kind == "markdown":
        from raybench.report.text import markdown

        click.echo(markdown(summary, is_detailed=is_detailed), nl=False)
    else:
        click.echo(_written(kind)(summary), nl=False)
    if kind in _WITHOUT_NOTES:
        for each in summary.damaged:
            click.echo(f"damaged: {each}", err=True)
    warned(lambda: save(folder, summary))  # what was asked for has been printed
    return summary


def warned(write: Callable[[], Any]) -> Any:
    """What is written beside what was asked for; where that cannot be, a line on stderr says so."""
    from raybench.results import ResultsError

    try:
        return write()
    except ResultsError as error:
        click.echo(f"warning: {error}", err=True)


def _written(kind: str) -> Callable[[Any], str]:
    from raybench.report import as_json, csv_table, junit

    return {"csv": csv_table.csv_text, "json": as_json, "junit": junit.of_run}[kind]
