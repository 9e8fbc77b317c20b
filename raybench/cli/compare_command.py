"""raybench compare: one run against an earlier one."""

import sys
from pathlib import Path

import click

from raybench.cli.console import for_results
from raybench.cli.exit_codes import FAILED, MISSED
from raybench.cli.usage_errors import WrongInput
from raybench.config import ConfigError

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("base", metavar="BASE", type=_FOLDER)
@click.argument("new", metavar="NEW", type=_FOLDER)
@click.option(
    "--fail-on",
    multiple=True,
    metavar="EXPR",
    help="Exit 99 if the ratio NEW/BASE is shown to meet this; repeatable.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "markdown", "json", "junit"]),
    default="text",
    show_default=True,
    help="Format of the output.",
)
def compare(base: Path, new: Path, fail_on: tuple[str, ...], kind: str) -> None:
    """Compare two runs: what differs between them, then each row of NEW with the same row of BASE.

    Rows match by server, model, signature and load. Ratios have intervals and verdicts, paired by round; with one
    round there is no verdict, and the ratio alone decides.

    \b
    raybench compare results/main-20260101T120000Z results/mine-20260102T120000Z --fail-on 'throughput<0.95'
    """
    from raybench.report import run_comparison as report
    from raybench.results import ResultsError

    try:
        compared = report.compare(base, new, fail_on)
    except (ConfigError, ResultsError) as error:
        raise WrongInput(str(error)) from error
    if kind == "text":
        report.print_comparison(for_results(), compared)
    else:
        written = {"markdown": report.markdown, "json": report.as_json, "junit": report.as_junit}[kind]
        click.echo(written(compared), nl=False)
    sys.exit(FAILED if compared.is_damaged else MISSED if compared.is_missed else 0)
