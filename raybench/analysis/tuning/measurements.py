"""The trials of a tuning, as far as they are there -> what each configuration reached in each round; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from raybench.analysis.search import evaluation
from raybench.analysis.search.strategy import LATE, UNKNOWN, SearchPoint, next_value
from raybench.analysis.trial_summary import TrialSummary
from raybench.analysis.tuning.halving import FIRST_CONFIRMATION, Configuration
from raybench.analysis.tuning.result import Measurement, rate_measurement, throughput_measurement
from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal
from raybench.results.results_folder import ObservedTrial, StoredTrial

# Times the rate that the default held, or else its throughput: a configuration that breaks at the first has lost.
_RANGE, _FIRST_RANGE = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0), (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
_GAP, _FRESH_GAP = 1.1, 1.03  # how closely a boundary is looked for


@dataclass(frozen=True)
class SeenTrial:
    """A trial with what it was derived from."""

    summary: TrialSummary
    observed: ObservedTrial | StoredTrial


def measurements_of(
    space: Sequence[Configuration], goal: TuningGoal, trials: Iterable[SeenTrial]
) -> dict[str, dict[int, Measurement]]:
    """By configuration and round; without what was cut off, which is to be measured again."""
    found: dict[str, dict[int, Measurement]] = {}
    for (name, number), seen in _by_round(space, trials).items():
        if any(each.summary.status == "interrupted" for each in seen):
            continue
        one = _rate(goal.latency, found, space, seen) if goal.latency else throughput_measurement(seen[0].summary)
        if one:
            found.setdefault(name, {})[number] = one
    return found


def _by_round(space: Sequence[Configuration], trials: Iterable[SeenTrial]) -> Mapping[tuple[str, int], list[SeenTrial]]:
    names = {(each.first.cell.label, each.first.cell.model): each.name for each in space}
    found: dict[tuple[str, int], list[SeenTrial]] = {}
    for each in trials:
        if name := names.get((each.summary.label, each.summary.model.name)):
            found.setdefault((name, each.summary.round), []).append(each)
    return found


def _rate(
    latency: Goal,
    found: Mapping[str, Mapping[int, Measurement]],
    space: Sequence[Configuration],
    seen: Sequence[SeenTrial],
) -> Measurement | None:
    goal = search_goal(latency, default_rate(space, found), _throughput_rps(seen), seen[0].summary.round)
    paced = [each for each in seen if each.summary.load.offered_rps]
    points = [evaluation.point(goal, each.summary, each.observed.record, each.observed.samples) for each in paced]
    return rate_measurement(goal, points, [each.summary for each in seen]) if is_over(goal, points) else None


def _throughput_rps(seen: Sequence[SeenTrial]) -> float | None:
    """Of the closed loop before a search; None where there was none."""
    closed = (each.summary for each in seen if not each.summary.load.offered_rps)
    return next((requests_per_s(each) for each in closed), None)


def requests_per_s(trial: TrialSummary) -> float | None:
    return trial.throughput.requests_per_s if trial.throughput else None


def default_rate(space: Sequence[Configuration], found: Mapping[str, Mapping[int, Measurement]]) -> float | None:
    """The rate that the default held in round 1; None where it is not known."""
    first = found.get(space[0].name, {}).get(1)
    return first.value if first else None


def search_goal(latency: Goal, default_rps: float | None, throughput_rps: float | None, number: int) -> Goal:
    """The search of one configuration in one round, which tries each rate once.

    Around what the default held; before that is known the rates that the user named, or else around the throughput of a
    closed loop. Without steps where none of them is known.
    """
    gap = _FRESH_GAP if number >= FIRST_CONFIRMATION else _GAP
    steps = _steps(_RANGE, default_rps) or latency.steps or _steps(_FIRST_RANGE, throughput_rps)
    return replace(latency, repeats=1, gap=gap, steps=steps)


def _steps(factors: Sequence[float], rps: float | None) -> tuple[float, ...]:
    return tuple(float(f"{factor * rps:.3g}") for factor in factors) if rps else ()


def is_over(goal: Goal, points: Sequence[SearchPoint]) -> bool:
    """Whether a search needs no further point: it has its answer, or a trial that says nothing."""
    return bool(points) and (points[-1].verdict in (LATE, UNKNOWN) or next_value(goal, points) is None)
