"""What a run says about itself while it goes on."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from raybench.config.plan import Trial
from raybench.results.records import TrialRecord


class RunObserver:
    """What a run says about itself; this one says nothing."""

    def __enter__(self) -> "RunObserver":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, line: str) -> None:
        """Something to keep."""

    def step(self, what: str) -> None:
        """A step that takes a while begins."""

    def opened(self, folder: Path) -> None:
        """The results folder is there."""

    def begin(self, trials: Sequence[Trial]) -> None:
        """These trials follow; a search does not know them."""

    def start(self, trial: Trial) -> None:
        """A trial begins."""

    def advance(self, chunk: pa.Table, server_mib: float | None) -> None:
        """Samples of measured requests have come, or none; the server holds so much memory, where that is known."""

    def end(self, record: TrialRecord) -> None:
        """A trial is on disk."""
