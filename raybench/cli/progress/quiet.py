"""No progress: warnings alone."""

import click

from raybench.driver.run_observer import RunObserver


class QuietProgress(RunObserver):
    """Says nothing but warnings, on stderr."""

    def warn(self, sentence: str) -> None:
        click.echo(f"warning: {sentence}", err=True)
