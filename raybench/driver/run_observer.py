"""The seam between a run and what shows its progress: events as they happen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from raybench.config.plan import Trial
from raybench.results.results_folder import ObservedTrial


class RunObserver:
    """Events of a run, in order; this one ignores them all but for the results folder."""

    folder: Path | None = None

    def __enter__(self) -> "RunObserver":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, line: str) -> None:
        """A line that a reader should still find after the run."""

    def step(self, what: str) -> None:
        """A step that takes a while begins."""

    def relies_on(self, processes: Mapping[int, str]) -> None:
        """The run cannot go on without these processes, by pid, and until now it has been without any others."""

    def opened(self, folder: Path) -> None:
        """The results folder is there."""
        self.folder = folder

    def warn(self, sentence: str) -> None:
        """What a user should know before servers start."""

    def plan(self, trials: Sequence[Trial]) -> None:
        """These trials follow; a search does not know them and does not call this."""

    def start(self, trial: Trial, unit: str) -> None:
        """A trial begins; `unit` is what people call the items that it sends."""

    def advance(self, chunk: pa.Table, server_mib: float | None) -> None:
        """Samples of measured requests have come, or none; the server holds so many MiB, where that is known."""

    def end(self, trial: ObservedTrial) -> None:
        """A trial is on disk."""
