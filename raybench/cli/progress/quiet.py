"""No progress: warnings alone, and how far the run is for the process that watches it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from raybench.cli.measuring_process import Reached, Tell
from raybench.config.plan import Trial
from raybench.driver.run_observer import RunObserver
from raybench.results.results_folder import ObservedTrial


class QuietProgress(RunObserver):
    """Says nothing but warnings, on stderr."""

    tell: Tell = staticmethod(lambda _: None)
    _reached = Reached()

    def warn(self, sentence: str) -> None:
        click.echo(f"warning: {sentence}", err=True)

    def step(self, what: str) -> None:
        self._tell(replace(self._reached, step=what))

    def start(self, trial: Trial, unit: str) -> None:  # noqa: ARG002
        self.step(f"trial {trial.id}")

    def end(self, trial: ObservedTrial) -> None:  # noqa: ARG002
        QuietProgress.step(self, "cleaning up after the trial")

    def opened(self, folder: Path) -> None:
        super().opened(folder)
        self._tell(replace(self._reached, folder=folder))

    def relies_on(self, processes: Mapping[int, str]) -> None:
        self._tell(replace(self._reached, relies_on=processes))

    def _tell(self, reached: Reached) -> None:
        self._reached = reached
        self.tell(reached)
