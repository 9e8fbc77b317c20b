"""raybench report: the table of a results folder again."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from raybench.cli.base import WrongInput, terminal


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="How the table is written.",
)
def report(folder: Path, kind: str) -> None:
    """Derive summary.json and the table of a results folder again, finished or not.

    \b
    raybench report results/run-20260101T120000Z --format markdown
    """
    from raybench.store import StoreError

    try:
        print_summary(terminal(), folder, kind)
    except StoreError as error:
        raise WrongInput(str(error)) from error


def print_summary(console: Console, folder: Path, kind: str = "text") -> Any:
    from raybench.report import report as derive
    from raybench.report import save
    from raybench.report.text import markdown, print_report
    from raybench.store import StoreError

    summary = derive(folder)
    if kind == "markdown":
        click.echo(markdown(summary), nl=False)
    else:
        print_report(console, summary, folder)
    try:
        save(folder, summary)
    except StoreError as error:  # what was asked for has been printed
        click.echo(f"warning: {error}", err=True)
    return summary
