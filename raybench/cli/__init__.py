"""The commands: parse, call one function, echo."""

import click

from raybench.cli.base import Commands
from raybench.cli.compare_command import compare
from raybench.cli.doctor_command import doctor
from raybench.cli.export_command import export
from raybench.cli.report_command import report
from raybench.cli.run_command import run
from raybench.cli.search_command import search
from raybench.cli.serve_command import serve
from raybench.cli.signals import heed_interrupts


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
