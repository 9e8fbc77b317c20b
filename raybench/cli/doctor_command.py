"""raybench doctor: what works on this machine."""

import sys

import click

from raybench.cli.console import for_results


@click.command()
def doctor() -> None:
    """Check this machine, with a remedy for each problem; exit 1 if `raybench run --workers 4` would fail.

    \b
    raybench doctor
    raybench run --workers 4          the main job
    """
    from raybench.cli.doctor.examine import examine
    from raybench.cli.doctor.findings_table import failed_topics, print_findings

    found = examine()
    print_findings(for_results(), found)
    sys.exit(1 if failed_topics(found) else 0)
