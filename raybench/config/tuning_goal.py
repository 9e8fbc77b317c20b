"""What a tuning is asked to find."""

from dataclasses import dataclass

from raybench.config.search_goal import Goal


@dataclass(frozen=True, kw_only=True)
class TuningGoal:
    """The configuration with the highest throughput or, with `latency`, with the highest rate within its limit.

    At most `most_trials` measurements within `budget_s`; of these `confirm_rounds` are fresh ones of the best
    configuration and of the default.
    """

    latency: Goal | None
    most_trials: int
    budget_s: float
    confirm_rounds: int = 5
