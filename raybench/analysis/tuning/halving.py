"""Successive halving with paired rounds: what was measured so far -> the configurations of the next round; pure.

Round 1 screens: the default of each server, and every configuration that differs from it in one knob. Round 2 does the
same around the best of round 1: one thread is a loss with one instance, and may be a gain with an instance for each
core. The gains of knobs are then added up on the log scale for every configuration, as if they were independent, and
the most promising are measured side by side; after each round half of them are left, and those whose interval lies
below the best's go.
What is left is measured again beside the default in fresh rounds, from which alone a gain is claimed: the best of many
noisy numbers is too high by itself.

Jamieson and Talwalkar, Non-stochastic best arm identification (AISTATS 2016), for the halving.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, exp, inf, log
from statistics import fmean

from raybench.analysis.cells import Interval, interval
from raybench.config import Benchmark, plan
from raybench.config.plan import Trial
from raybench.config.server_settings import KNOBS
from raybench.config.tuning_goal import TuningGoal

SCREENING, HALVING, CONFIRMATION = "screening", "halving", "confirmation"
_AROUND_BEST = 2  # the number of the round that screens around the best of round 1
FIRST_HALVING = 3
FIRST_CONFIRMATION = 101
_WIDEST, _NARROWEST = 8, 2
_MOST_HALVINGS = 4
_LEAST_CONFIRMED = 3  # rounds: with two the interval is 12.7 standard errors wide
KnobValues = Mapping[str, int | str]
Measured = Mapping[str, Mapping[int, float | None]]  # by configuration and round; None: it gave no number


@dataclass(frozen=True)
class Configuration:
    """A server with its settings and a model; `first` is the trial that measures it in round 1."""

    name: str
    kind: str
    values: KnobValues
    first: Trial


@dataclass(frozen=True)
class Round:
    """Configurations that are measured side by side."""

    number: int
    stage: str
    names: tuple[str, ...]


def configurations(benchmark: Benchmark) -> tuple[Configuration, ...]:
    """All that a benchmark spans, in order: the first of each kind of server is its default."""
    firsts = plan.first_trials(benchmark)
    are_several = len({trial.cell.model for trial in firsts}) > 1
    return tuple(_configuration(trial, are_several) for trial in firsts)


def _configuration(trial: Trial, are_several: bool) -> Configuration:
    server = trial.cell.server
    knobs = {knob.name: getattr(server.settings, knob.name) for knob in KNOBS}
    values = {"model": trial.cell.model, "layout": server.layout, "instances": server.instances, **knobs}
    if server.number:
        values = {"number": server.number}
    name = f"{trial.cell.label}, {trial.cell.model}" if are_several else trial.cell.label
    return Configuration(name, server.kind, values, trial)


def next_round(
    space: Sequence[Configuration], measured: Measured, goal: TuningGoal, most_trials: int | None = None
) -> Round | None:
    """The next round, without what was measured in it already; None when tuning is over.

    `most_trials` is how many measurements there may be in all, by the time that is left.
    """
    most = goal.most_trials if most_trials is None else min(goal.most_trials, most_trials)
    wanted = _wanted(space, measured, goal, most)
    if wanted is None:
        return None
    left = tuple(name for name in wanted.names if wanted.number not in measured.get(name, {}))
    return Round(wanted.number, wanted.stage, left)


def _wanted(space: Sequence[Configuration], measured: Measured, goal: TuningGoal, most: int) -> Round | None:
    screened = _screened(space)
    if _is_missing(screened, 1, measured):
        return Round(1, SCREENING, screened)
    if following := _screening_again(space, measured, goal, most) or _halving(space, measured, goal, most):
        return following
    best, default = leader(space, measured), space[0].name
    if best is None or best == default or not has_number(measured, default):
        return None
    done = _confirmed_rounds((best, default), measured)
    is_room = most >= _count(measured) + 2
    rounds = goal.confirm_rounds if is_room else max(_LEAST_CONFIRMED, done)
    if done >= rounds:
        return None
    return Round(FIRST_CONFIRMATION + done, CONFIRMATION, (best, default))


def _screened(space: Sequence[Configuration]) -> tuple[str, ...]:
    """The default of each kind, and what differs from it in one knob."""
    return tuple(each.name for each in space if len(_changes(each, _default(space, each.kind))) <= 1)


def _best_screened(space: Sequence[Configuration], measured: Measured) -> Configuration:
    """The best of round 1. Ties go to the earlier, so that the default stays where nothing is better."""
    there = [each for each in space if 1 in measured.get(each.name, {})]
    return max(there, key=lambda each: _log(measured, each.name, 1))


def _around(space: Sequence[Configuration], measured: Measured) -> tuple[str, ...]:
    """The best of round 1, and what is new and differs from it in one knob; nothing where it is a default."""
    best, screened = _best_screened(space, measured), _screened(space)
    if best == _default(space, best.kind):
        return ()
    others = [each for each in space if each.kind == best.kind and len(_changes(each, best)) == 1]
    return (best.name, *(each.name for each in others if each.name not in screened))


def _screening_again(space: Sequence[Configuration], measured: Measured, goal: TuningGoal, most: int) -> Round | None:
    """Round 2, where there is room for it beside the narrowest halving."""
    names = _around(space, measured)
    if len(names) < 2 or not _is_missing(names, _AROUND_BEST, measured):
        return None
    is_room = _count(measured) + len(names) + _NARROWEST + 2 * goal.confirm_rounds <= most
    is_begun = any(_AROUND_BEST in measured.get(name, {}) for name in names)
    return Round(_AROUND_BEST, SCREENING, names) if is_room or is_begun else None


def _default(space: Sequence[Configuration], kind: str) -> Configuration:
    return next(each for each in space if each.kind == kind)


def _changes(one: Configuration, other: Configuration) -> tuple[tuple[str, int | str], ...]:
    """The knobs, with their values, in which one configuration differs from another."""
    return tuple((knob, value) for knob, value in one.values.items() if other.values.get(knob) != value)


def _halving(space: Sequence[Configuration], measured: Measured, goal: TuningGoal, most: int) -> Round | None:
    """The round that the promising configurations need next; None when one is left, or no more fit."""
    pool = promising(space, measured, _width(measured, goal))
    for number in range(FIRST_HALVING, FIRST_HALVING + _MOST_HALVINGS):
        if len(pool) < 2:
            return None
        if _is_missing(pool, number, measured):
            is_room = _count(measured) + len(pool) + 2 * goal.confirm_rounds <= most
            is_begun = any(number in measured.get(name, {}) for name in pool)
            return Round(number, HALVING, pool) if is_room or is_begun else None
        pool = _survivors(pool, measured, number)
    return None


def _width(measured: Measured, goal: TuningGoal) -> int:
    """How many configurations the halving begins with: n, n/2, n/4, ... of them are measured."""
    screened = sum(number < FIRST_HALVING for each in measured.values() for number in each)
    left = goal.most_trials - screened - 2 * goal.confirm_rounds
    return max(_NARROWEST, min(_WIDEST, left if left < 2 * _NARROWEST else int(left / 1.75)))


def promising(space: Sequence[Configuration], measured: Measured, width: int) -> tuple[str, ...]:
    """So many configurations with the best predictions, the best first."""
    predicted = {each.name: _predicted(each, space, measured) for each in space}
    ranked = sorted((name for name, value in predicted.items() if value > -inf), key=lambda name: -predicted[name])
    return tuple(ranked[:width])


def _predicted(each: Configuration, space: Sequence[Configuration], measured: Measured) -> float:
    """The logarithm of the value that a configuration would have if the gains of its knobs added up.

    They are gains over the best of round 1 where others were measured around it, else over the default. Its own value
    where the default has none, which leaves nothing to add up.
    """
    best, base = _best_screened(space, measured), _default(space, each.kind)
    if best.kind == each.kind and _AROUND_BEST in measured[best.name]:
        base = best
    value = _log(measured, base.name, 1)
    if value == -inf:
        return _log(measured, each.name, 1)
    return value + sum(_gain(change, base, space, measured) for change in _changes(each, base))


def _gain(
    change: tuple[str, int | str], base: Configuration, space: Sequence[Configuration], measured: Measured
) -> float:
    """What one change adds to a base, by the last round that has both; 0 where nothing is known of it, such as of a
    value that has no effect without another."""
    alone = next((c for c in space if c.kind == base.kind and _changes(c, base) == (change,)), None)
    if alone is None:
        return 0.0
    for number in (_AROUND_BEST, 1):
        if number in measured.get(alone.name, {}) and number in measured.get(base.name, {}):
            found = _log(measured, alone.name, number)
            return found - _log(measured, base.name, number) if found > -inf else -inf
    return 0.0


def _survivors(pool: Sequence[str], measured: Measured, last: int) -> tuple[str, ...]:
    """The better half by the rounds of the halving, without those that are worse than the best beyond doubt."""
    ranked = sorted(pool, key=lambda name: -_mean_log(measured, name, last))
    best = ranked[0]
    kept = [name for name in ranked if name == best or not _is_worse(measured, name, best, last)]
    return tuple(kept[: ceil(len(pool) / 2)])


def _mean_log(measured: Measured, name: str, last: int) -> float:
    return fmean(_log(measured, name, number) for number in range(FIRST_HALVING, last + 1))


def _is_worse(measured: Measured, name: str, best: str, last: int) -> bool:
    numbers = range(FIRST_HALVING, last + 1)
    if any(_log(measured, each, number) == -inf for each in (name, best) for number in numbers):
        return True
    found = interval(_log(measured, name, number) - _log(measured, best, number) for number in numbers)
    return found is not None and found.high is not None and found.high < 0


def leader(space: Sequence[Configuration], measured: Measured) -> str | None:
    """The best so far: of those that were in the last round of halving, or of screening; None without a number.

    Ties go to the earlier, so that the default stays where nothing is better.
    """
    last = max((number for each in measured.values() for number in each if number < FIRST_CONFIRMATION), default=0)
    names = [each.name for each in space if last in measured.get(each.name, {})]
    if not names:
        return None
    if last < FIRST_HALVING:
        best = max(names, key=lambda name: _log(measured, name, last))
        return best if _log(measured, best, last) > -inf else None
    best = max(names, key=lambda name: _mean_log(measured, name, last))
    return best if _mean_log(measured, best, last) > -inf else None


def confirmed(best: str, default: str, measured: Measured) -> Interval | None:
    """The ratio of two configurations over their fresh rounds, with its interval.

    None without one, and where a fresh round of the best gave no number: to leave out its worst rounds would favour it.
    """
    if any(value is None for n, value in measured.get(best, {}).items() if n >= FIRST_CONFIRMATION):
        return None
    found = interval(each for n, each in _log_ratios(best, default, measured).items() if n >= FIRST_CONFIRMATION)
    if found is None:
        return None
    low, high = (None if bound is None else exp(bound) for bound in (found.low, found.high))
    return Interval(mean=exp(found.mean), low=low, high=high, rounds=found.rounds)


def ratio_of(name: str, default: str, measured: Measured) -> float | None:
    """The geometric mean of two configurations' ratios, over the fresh rounds of both or else all; None without one."""
    both = _log_ratios(name, default, measured)
    logs = [each for n, each in both.items() if n >= FIRST_CONFIRMATION] or list(both.values())
    return exp(fmean(logs)) if logs else None


def has_number(measured: Measured, name: str) -> bool:
    """Whether any round of a configuration gave one."""
    return any(measured.get(name, {}).values())


def _log_ratios(one: str, other: str, measured: Measured) -> dict[int, float]:
    """By round, for the rounds in which both have a number."""
    logs = {n: (_log(measured, one, n), _log(measured, other, n)) for n in measured.get(one, {})}
    return {n: mine - its for n, (mine, its) in logs.items() if min(mine, its) > -inf}


def _confirmed_rounds(names: Iterable[str], measured: Measured) -> int:
    """How many fresh rounds all of them have been measured in."""
    return min(sum(number >= FIRST_CONFIRMATION for number in measured.get(name, {})) for name in names)


def _is_missing(names: Iterable[str], number: int, measured: Measured) -> bool:
    return any(number not in measured.get(name, {}) for name in names)


def _count(measured: Measured) -> int:
    return sum(map(len, measured.values()))


def _log(measured: Measured, name: str, number: int) -> float:
    value = measured.get(name, {}).get(number)
    return log(value) if value else -inf
