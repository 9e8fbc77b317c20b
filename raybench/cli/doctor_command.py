"""raybench doctor: what works on this machine."""

import sys

import click

from raybench.cli.base import terminal


@click.command()
def doctor() -> None:
    """Say what works on this machine, what does not, and the remedy; exit 1 where the main job cannot run.

    \b
    raybench doctor
    raybench run --workers 4          the main job
    """
    from raybench.cli.doctor import examine, print_findings, verdict

    found = examine()
    print_findings(terminal(), found)
    sys.exit(1 if verdict(found) else 0)
