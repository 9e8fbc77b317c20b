"""raybench doctor: what works on this machine."""

import sys

import click

from raybench.cli.console import for_results


@click.command()
def doctor() -> None:
    """Check this machine and print the fix for each problem; exit 1 if `raybench run --workers 4` cannot run.

    \b
    raybench doctor
    raybench run --workers 4          what it checks for
    """
    from raybench.cli.doctor.examine import examine
    from raybench.cli.doctor.findings_table import failed_topics, print_findings

    found = examine()
    print_findings(for_results(), found)
    sys.exit(1 if failed_topics(found) else 0)
