"""Successive halving on landscapes whose best configuration is known."""

from collections.abc import Callable
from dataclasses import replace
from math import exp

import numpy as np
import pytest
from helpers import trial

from raybench import config
from raybench.analysis.search.strategy import BROKE, HELD, LATE, SearchPoint
from raybench.analysis.tuning.halving import (
    CONFIRMATION,
    FIRST_CONFIRMATION,
    SCREENING,
    Configuration,
    configurations,
    next_round,
)
from raybench.analysis.tuning.measurements import KnownRates, search_goal
from raybench.analysis.tuning.result import (
    BETTER,
    Measurement,
    TuningResult,
    rate_measurement,
    tuning_result,
    values,
)
from raybench.config.search_goal import LATENCY as LATENCY_KIND
from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal

_RUNS = 40
_KNOBS = {"instances": (1, 2), "merge_max": (0, 1, 16), "intra_op_threads": (0, 1), "inter_op_threads": (0, 1)}
Truth = Callable[[Configuration], float | None]


def space_of(**values: object) -> tuple[Configuration, ...]:
    """The configurations of a Triton with these values of its knobs."""
    return configurations(config.load(None, {"server": ("triton",), **values}))


def goal_for(space: tuple[Configuration, ...], **changes: object) -> TuningGoal:
    plain = {"latency": None, "most_trials": max(24, len(space)), "budget_s": 1e9}
    return TuningGoal(**{**plain, **changes})


def tuned(
    space: tuple[Configuration, ...], truth: Truth, seed: int, *, noise: float = 0.03, goal: TuningGoal | None = None
) -> TuningResult:
    """What a tuning of a landscape comes to; a round has noise in common, and each measurement its own."""
    random, goal = np.random.default_rng(seed), goal or goal_for(space)
    found: dict[str, dict[int, Measurement]] = {}
    by_name = {each.name: each for each in space}
    while following := next_round(space, values(found), goal):
        shared = random.normal(0, 2 * noise)
        for name in following.names:
            true = truth(by_name[name])
            value = None if true is None else true * exp(shared + random.normal(0, noise))
            found.setdefault(name, {})[following.number] = Measurement(value, ())
    return _result(space, found, goal)


def _result(
    space: tuple[Configuration, ...], found: dict[str, dict[int, Measurement]], goal: TuningGoal
) -> TuningResult:
    return tuning_result(space, found, goal)


@pytest.mark.parametrize("seed", range(4))
def test_the_default_is_what_was_named_first(seed: int) -> None:
    """The first value of each setting, and the first model, are what a gain is over, whatever order trials have."""
    space = space_of(model=("b", "a", "c"), merge_max=(16, 0), instances=(2, 1), seed=seed)
    assert space[0].name == "triton x2 merge=16, b"


def test_all_alike_claims_no_gain() -> None:
    """Of configurations that are all alike the luckiest is not called better: at most 2 of 40 runs claim a gain."""
    space = space_of(**_KNOBS)
    found = [tuned(space, lambda _: 100.0, seed) for seed in range(_RUNS)]
    assert sum(each.verdict == BETTER for each in found) <= 2
    assert all(each.is_over for each in found)


def test_a_configuration_that_is_better_is_found() -> None:
    """One value that serves 15 % more is found, and shown, in at least 36 of 40 runs."""
    space = space_of(**_KNOBS)

    def truth(each: Configuration) -> float:
        return 115.0 if each.values["merge_max"] == 16 else 100.0

    found = [tuned(space, truth, seed) for seed in range(_RUNS)]
    assert sum(each.verdict == BETTER and "merge=16" in str(each.winner) for each in found) >= 36


@pytest.mark.parametrize("interaction", [1.0, 1.1, 0.9])
def test_the_winner_is_near_the_best_of_a_fifth_of_the_trials(interaction: float) -> None:
    """Knobs whose gains add up, and nearly so: at least 95 % of the best of the grid, by a fifth of its trials."""
    space = space_of(**_KNOBS, layout=("multi", "per-model"))

    def truth(each: Configuration) -> float:
        gain = {0: 1.0, 1: 0.8, 16: 1.2}[int(each.values["merge_max"])]
        gain *= 1.15 if each.values["instances"] == 2 else 1.0
        gain *= 0.9 if each.values["intra_op_threads"] else 1.0
        both = each.values["instances"] == 2 and each.values["merge_max"] == 16
        return 100 * gain * (interaction if both else 1.0)

    best, by_name = max(map(truth, space)), {each.name: each for each in space}
    found = [tuned(space, truth, seed) for seed in range(_RUNS)]
    near = [truth(by_name[str(each.winner)]) >= 0.95 * best for each in found]
    assert sum(near) >= 36
    assert all(each.measurements <= len(space) for each in found)  # a fifth of five rounds of each


def test_a_setting_that_gains_beside_another_alone_is_found() -> None:
    """One thread is a loss with one instance and a gain with one a core: what a loss alone would rule out is screened
    again around the best, and at least 95 % of the best is reached."""
    space = space_of(**_KNOBS)

    def truth(each: Configuration) -> float:
        gains = {(1, 1): 0.8, (2, 0): 1.2, (2, 1): 1.35}
        return 100 * gains.get((int(each.values["instances"]), int(each.values["intra_op_threads"])), 1.0)

    found, by_name = [tuned(space, truth, seed) for seed in range(_RUNS)], {each.name: each for each in space}
    assert sum(truth(by_name[str(each.winner)]) >= 0.95 * 135 for each in found) >= 36
    assert all(each.measurements <= len(space) for each in found)


def test_without_room_nothing_is_screened_again() -> None:
    """Where the time is short the best of round 1 is confirmed, and round 2 is left out."""
    space = space_of(**_KNOBS)
    goal = goal_for(space)
    screened = next_round(space, {}, goal)
    assert screened is not None
    measured = {name: {1: 110.0 if "x2" in name else 100.0} for name in screened.names}
    again = next_round(space, measured, goal)
    assert again is not None
    assert (again.number, again.stage, len(again.names)) == (2, SCREENING, 5)
    short = next_round(space, measured, goal, most_trials=len(measured) + 10)
    assert short is not None
    assert short.stage == CONFIRMATION


def test_what_fails_never_wins() -> None:
    """A configuration without a number is an answer: the others are measured, and it has its reason."""
    space = space_of(**_KNOBS)
    found = tuned(space, lambda each: None if each.values["instances"] == 2 else 100.0, 0)
    assert "x2" not in str(found.winner)
    nothing = tuned(space, lambda _: None, 0)
    assert nothing.winner is None
    assert nothing.is_over


def test_only_fresh_rounds_count_for_a_claim() -> None:
    """A winner that was lucky before its fresh rounds is not better: its ratio comes from these alone."""
    space = space_of(instances=(1, 2))
    default, other = (each.name for each in space)
    lucky = {1: Measurement(150.0, ()), 2: Measurement(150.0, ())}
    fresh = {FIRST_CONFIRMATION + n: Measurement(100.0 + n, ()) for n in range(5)}
    found = {default: {n: Measurement(100.0, ()) for n in (1, 2, *fresh)}, other: {**lucky, **fresh}}
    result = tuning_result(space, found, goal_for(space))
    assert result.winner == other
    assert result.ratio is not None
    assert 1.0 < result.ratio.mean < 1.03


LATENCY = Goal(kind=LATENCY_KIND, variable="request_rate", steps=(5.0, 10.0), percentile="p99", limit_ms=100.0)


@pytest.mark.parametrize(
    ("rates", "first", "last"),
    [
        (KnownRates(own_rps=100.0, default_rps=50.0), 60.0, 300.0),
        (KnownRates(default_rps=50.0, throughput_rps=500.0), 35.0, 200.0),
        (KnownRates(throughput_rps=500.0), 5.0, 10.0),
        (KnownRates(), 5.0, 10.0),
    ],
)
def test_a_search_begins_near_what_is_known(rates: KnownRates, first: float, last: float) -> None:
    """A configuration is searched around its own rate, else the default's, else the rates that the user named."""
    steps = search_goal(LATENCY, rates, 1).steps
    assert (steps[0], steps[-1]) == (first, last)
    unnamed = search_goal(replace(LATENCY, steps=()), KnownRates(throughput_rps=500.0), 1)
    assert (unnamed.steps[0], unnamed.steps[-1]) == (50.0, 600.0)
    assert search_goal(replace(LATENCY, steps=()), KnownRates(), 1).steps == ()
    assert search_goal(LATENCY, rates, FIRST_CONFIRMATION).gap < search_goal(LATENCY, rates, 1).gap


def test_a_rate_is_between_what_held_and_what_did_not() -> None:
    """A search counts as the middle of its last two rates; only trials at the rate that held say its latency."""
    trials = [trial(round=n) for n in range(3)]
    points = [_point(10.0, HELD), _point(20.0, BROKE), _point(16.0, HELD)]
    found = rate_measurement(LATENCY, points, trials)
    assert found.value == pytest.approx((16 * 20) ** 0.5)
    assert found.trials == (trials[2],)
    late = rate_measurement(LATENCY, [*points, _point(18.0, LATE)], [*trials, trials[0]])
    assert late.value is None  # the client was late: what the server holds is not known
    nothing = rate_measurement(LATENCY, [_point(10.0, BROKE)], trials[:1])
    assert (nothing.value, nothing.reason) == (None, "too slow")


def _point(value: float, verdict: str) -> SearchPoint:
    return SearchPoint(
        trial="t",
        value=value,
        round=1,
        verdict=verdict,
        reason="too slow" if verdict == BROKE else None,
        requests=1000,
        failed=0,
        latency_ms=1.0,
        inferences_per_s=1.0,
        goodput_rps=1.0,
    )


def test_a_fresh_round_without_a_number_claims_nothing() -> None:
    """A best configuration that fails in a fresh round is not called better by its other rounds."""
    space = space_of(instances=(1, 2))
    default, other = (each.name for each in space)
    fresh = range(FIRST_CONFIRMATION, FIRST_CONFIRMATION + 5)
    good = {n: Measurement(150.0, ()) for n in (1, 2, *fresh)}
    found = {
        default: {n: Measurement(100.0, ()) for n in good},
        other: {**good, FIRST_CONFIRMATION: Measurement(None, ())},
    }
    result = tuning_result(space, found, goal_for(space))
    assert (result.winner, result.ratio, result.to_deploy) == (other, None, default)


def test_a_default_without_a_number_leaves_the_others_to_win() -> None:
    """Where the default gives no number the others are still halved, and the best of them is deployed."""
    space = space_of(**_KNOBS)

    def truth(each: Configuration) -> float | None:
        return None if each.name == space[0].name else 120.0 if each.values["instances"] == 2 else 100.0

    found = tuned(space, truth, 0)
    assert found.is_over
    assert found.verdict != BETTER
    assert found.to_deploy == found.winner
    assert "x2" in str(found.winner)
    assert max(each.rounds for each in found.tried) > 1


def test_a_round_that_was_cut_off_is_finished() -> None:
    """After an interruption only what is left of a round is measured."""
    space, goal = space_of(**_KNOBS), goal_for(space_of(**_KNOBS))
    first = next_round(space, {}, goal)
    assert first is not None
    measured = {name: {1: 100.0} for name in first.names[:2]}
    left = next_round(space, measured, goal)
    assert left is not None
    assert left.names == first.names[2:]


def test_time_is_kept_for_the_confirmation() -> None:
    """Where no more measurements fit, the best so far is confirmed in three fresh rounds, and no fewer."""
    space = space_of(**_KNOBS)
    goal = goal_for(space)
    measured = {each.name: {1: 110.0 if "x2" in each.name else 100.0} for each in space}
    screened = {name: measured[name] for name in next_round(space, {}, goal).names}  # type: ignore[union-attr]
    following = next_round(space, screened, goal, most_trials=len(screened))
    assert following is not None
    assert following.stage == CONFIRMATION
    for done in range(3):
        for name in following.names:
            screened[name] = {**screened[name], FIRST_CONFIRMATION + done: 100.0}
        spent = sum(map(len, screened.values()))
        is_over = next_round(space, screened, goal, most_trials=spent) is None
        assert is_over == (done == 2)
    assert next_round(space, screened, goal, most_trials=spent + 2) is not None
