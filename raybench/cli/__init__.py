"""The commands: parse, call one function, print."""

import click

from raybench.cli import (
    compare_command,
    doctor_command,
    export_command,
    init_command,
    models_command,
    report_command,
    run_command,
    search_command,
    serve_command,
    size_command,
    tune_command,
)
from raybench.cli.console import print_in_any_encoding
from raybench.cli.signals import install_signal_handlers
from raybench.cli.usage_errors import Commands

_INTRODUCTION = """\
raybench measures inference servers (Triton, TensorFlow Serving, TensorFlow in process) under the same load,
and says how far the numbers can be trusted.

  raybench run --workers 4     compare Triton with TensorFlow in process
  raybench run -m ./my_model   the same with your own SavedModel
  raybench doctor              check this machine, with the fix for each problem

All commands: raybench --help. Flags of one: raybench run --help."""


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="raybench")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Choose and size an inference server, with numbers that you can defend.

    \b
    raybench run --workers 4          Triton beside TensorFlow in process
    raybench run -m ./my_model        your own SavedModel, with inputs made from its signature
    raybench report results/run-...   the table again
    """
    print_in_any_encoding()
    install_signal_handlers()
    if ctx.invoked_subcommand is None:
        click.echo(_INTRODUCTION)


main.add_command(init_command.init)
main.add_command(run_command.run)
main.add_command(search_command.search)
main.add_command(tune_command.tune)
main.add_command(size_command.size)
main.add_command(report_command.report)
main.add_command(compare_command.compare)
main.add_command(models_command.models)
main.add_command(export_command.export)
main.add_command(serve_command.serve)
main.add_command(doctor_command.doctor)
