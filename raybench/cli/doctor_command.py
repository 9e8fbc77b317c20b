"""raybench doctor: what works on this machine."""

import sys

import click

from raybench.cli.console import terminal


@click.command()
def doctor() -> None:
    """Say what works on this machine, what does not, and the remedy; exit 1 where the main job cannot run.

    \b
    raybench doctor
    raybench run --workers 4          the main job
    """
    from raybench.cli.doctor.examine import examine
    from raybench.cli.doctor.findings_table import failed_topics, print_findings

    found = examine()
    print_findings(terminal(), found)
    sys.exit(1 if failed_topics(found) else 0)
