"""The commands: parse, call one function, echo."""

import click

from raybench.cli.base import Commands
from raybench.cli.compare import compare
from raybench.cli.doctor import doctor
from raybench.cli.export import export
from raybench.cli.interrupts import heed_interrupts
from raybench.cli.report import report
from raybench.cli.run import run
from raybench.cli.search import search
from raybench.cli.serve import serve


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="raybench")
def main() -> None:
    """Choose and size an inference server, with numbers that can be defended.

    \b
    raybench run --workers 4          Triton beside TensorFlow in process
    raybench report results/run-...   the table again
    """
    heed_interrupts()


for command in (run, search, report, compare, export, serve, doctor):
    main.add_command(command)
