"""The commands: parse, call one function, print."""

import click

from raybench.cli import (
    compare_command,
    doctor_command,
    export_command,
    models_command,
    report_command,
    run_command,
    search_command,
    serve_command,
)
from raybench.cli.console import print_in_any_encoding
from raybench.cli.signals import install_signal_handlers
from raybench.cli.usage_errors import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="raybench")
def main() -> None:
    """Choose and size an inference server, with numbers that can be defended.

    \b
    raybench run --workers 4          Triton beside TensorFlow in process
    raybench report results/run-...   the table again
    """
    print_in_any_encoding()
    install_signal_handlers()


main.add_command(run_command.run)
main.add_command(search_command.search)
main.add_command(report_command.report)
main.add_command(compare_command.compare)
main.add_command(models_command.models)
main.add_command(export_command.export)
main.add_command(serve_command.serve)
main.add_command(doctor_command.doctor)
