"""How far a run is, and how long it will still take."""

from collections.abc import Sequence
from statistics import fmean

from raybench.config.plan import Trial


class RunProgress:
    """The trials of a run, and how long each took from the end of the one before: its server's start is part of it."""

    def __init__(self, trials: Sequence[Trial], now_s: float) -> None:
        self.trials, self.number = len(trials), 0
        self._left = list(trials)
        self._since_s = now_s
        self._took_s: dict[str, list[float]] = {}

    def start(self) -> None:
        self.number, self._left = self.number + 1, self._left[1:]

    def end(self, trial: Trial, *, is_measured: bool, now_s: float) -> None:
        """Keep how long a trial took, unless it was not measured: that says nothing about the others."""
        if is_measured:
            self._took_s.setdefault(trial.cell.id, []).append(now_s - self._since_s)
        self._since_s = now_s

    def left_s(self, trial_left_s: float | None, now_s: float) -> float | None:
        """Until the last trial ends; None is not known. `trial_left_s` is of the trial that runs.

        A trial that follows takes as long as its cell did before, else the mean of all trials so far.
        """
        if trial_left_s is None or not self.trials:
            return None
        seen_s = [s for each in self._took_s.values() for s in each] + [now_s - self._since_s + trial_left_s]
        return trial_left_s + sum(fmean(self._took_s.get(trial.cell.id, seen_s)) for trial in self._left)
