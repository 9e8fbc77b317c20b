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

# Times the rate that the configuration held in an earlier round; or that the default held, where one that breaks at
# the first has lost; or times the throughput of a closed loop.
_OWN_RANGE = (0.6, 0.85, 1.0, 1.15, 1.4, 2.0, 3.0)
_RANGE = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_FIRST_RANGE = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
_GAP, _FRESH_GAP = 1.1, 1.03  # how closely a boundary is looked for


@dataclass(frozen=True, kw_only=True)
class KnownRates:
    """Requests/s around which a search may look; None is not known."""

    own_rps: float | None = None
    default_rps: float | None = None
    throughput_rps: float | None = None


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
        rates = known_rates(space, found, name, number)
        one = _rate(goal.latency, rates, seen) if goal.latency else throughput_measurement(seen[0].summary)
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


def _rate(latency: Goal, rates: KnownRates, seen: Sequence[SeenTrial]) -> Measurement | None:
    paced = [each for each in seen if each.summary.load.offered_rps]
    closed = next((throughput_measurement(each.summary) for each in seen if each not in paced), None)
    if closed and closed.value is None:
        return closed
    if ended := seen[-1].observed.record.server_ended:
        return Measurement(None, (seen[-1].summary,), ended)
    throughput_rps = requests_per_s(closed.trials[0]) if closed else None
    goal = search_goal(latency, replace(rates, throughput_rps=throughput_rps), seen[0].summary.round)
    points = [evaluation.point(goal, each.summary, each.observed.record, each.observed.samples) for each in paced]
    return rate_measurement(goal, points, [each.summary for each in paced]) if is_over(goal, points) else None


def requests_per_s(trial: TrialSummary) -> float | None:
    return trial.throughput.requests_per_s if trial.throughput else None


def known_rates(
    space: Sequence[Configuration], found: Mapping[str, Mapping[int, Measurement]], name: str, number: int
) -> KnownRates:
    """What is known before a configuration is measured in a round."""
    own = [each.value for earlier, each in sorted(found.get(name, {}).items()) if earlier < number and each.value]
    first = found.get(space[0].name, {}).get(1)
    return KnownRates(own_rps=own[0] if own else None, default_rps=first.value if first else None)


def search_goal(latency: Goal, rates: KnownRates, number: int) -> Goal:
    """The search of one configuration in one round, which tries each rate once.

    Around the rates that are known, or those that the user named; without steps where there are none.
    """
    gap = _FRESH_GAP if number >= FIRST_CONFIRMATION else _GAP
    steps = _steps(_OWN_RANGE, rates.own_rps) or _steps(_RANGE, rates.default_rps)
    steps = steps or latency.steps or _steps(_FIRST_RANGE, rates.throughput_rps)
    return replace(latency, repeats=1, gap=gap, steps=steps)


def _steps(factors: Sequence[float], rps: float | None) -> tuple[float, ...]:
    return tuple(float(f"{factor * rps:.3g}") for factor in factors) if rps else ()


def unfinished(
    found: Mapping[str, Mapping[int, Measurement]], space: Sequence[Configuration], trials: Iterable[SeenTrial]
) -> tuple[str, ...]:
    """The ids of the trials of measurements that were cut off, which would mix with those of the next attempt."""
    groups = _by_round(space, trials).items()
    cut = (seen for (name, number), seen in groups if number not in found.get(name, {}))
    return tuple(each.summary.id for seen in cut for each in seen)


def is_over(goal: Goal, points: Sequence[SearchPoint]) -> bool:
    """Whether the trials of a search that are on disk need no further one: its answer, or one that says nothing."""
    return bool(points) and (points[-1].verdict in (LATE, UNKNOWN) or next_value(goal, points) is None)
