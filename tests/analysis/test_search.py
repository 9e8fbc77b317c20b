"""The strategy of a search: what is measured next, and what was found."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from raybench.analysis.search import strategy
from raybench.analysis.search.strategy import BROKE, HELD, LATE, UNKNOWN, SearchPoint, SearchResult
from raybench.config import Benchmark, ConfigError, plan
from raybench.config.search_goal import LATENCY, OOM, Goal

UP_TO_8 = Goal(kind=OOM, variable="workers", steps=(1, 2, 4, 8))
P90 = Goal(kind=LATENCY, variable="request_rate", steps=(10, 20, 40, 80), percentile="p90", limit_ms=50.0)


def tried(value: float, verdict: str, round: int = 1) -> SearchPoint:
    counts = {"requests": 1, "failed": 0, "latency_ms": None, "inferences_per_s": None, "goodput_rps": None}
    return SearchPoint(trial=f"r{round}-{value}", value=value, round=round, verdict=verdict, reason=None, **counts)


def climbed(goal: Goal, holds: Callable[[float, int], bool]) -> list[SearchPoint]:
    """All points of a search of a server that holds what `holds(value, round)` says."""
    points: list[SearchPoint] = []
    while (value := strategy.next_value(goal, points)) is not None:
        round = 1 + sum(point.value == value for point in points)
        points.append(tried(value, HELD if holds(value, round) else BROKE, round))
        assert len(points) < 100
    return points


def came_to(points: list[SearchPoint]) -> SearchResult:
    return strategy.search_result(UP_TO_8, "fake", "m", points, unit="images")


def values(points: list[SearchPoint]) -> list[float]:
    return [point.value for point in points]


@pytest.mark.parametrize("most", range(1, 9))
def test_the_last_load_that_holds_is_found(most: int) -> None:
    """Whatever a server holds, the search ends at it, with both sides of the boundary measured twice."""
    points = climbed(UP_TO_8, lambda value, _: value <= most)
    assert strategy.boundary(UP_TO_8, points) == (most, most + 1 if most < 8 else None)
    assert values(points).count(most) == 2
    assert values(points).count(most + 1) == (2 if most < 8 else 0)


def test_each_model_is_searched_under_its_own_load() -> None:
    """Where models are called by different signatures, or take other numbers of items, a step is that of the model."""
    calls = {"a": {"signature": "x", "batch_size": 8}, "b": {"signature": "y", "batch_size": 1}}
    benchmark = Benchmark(server=("fake",), model=("a", "b")).by_model(lambda _, model: calls[model])
    for first in plan.first_trials(benchmark):
        cell = strategy.trial_at(benchmark, P90, first, 20.0).cell
        asked = {"signature": cell.signature, "batch_size": cell.load.batch_size}
        assert (cell.models, asked) == (first.cell.models, calls[cell.model])


def test_steps_come_in_order_and_the_gap_is_halved() -> None:
    """No step above the first that did not hold is tried: it would only be worse."""
    assert values(climbed(UP_TO_8, lambda value, _: value <= 2)) == [1, 2, 4, 3, 2, 3]


def test_a_first_step_that_does_not_hold_ends_the_search() -> None:
    """Where not even the first step holds nothing does, and that is confirmed once."""
    points = climbed(UP_TO_8, lambda *_: False)
    assert values(points) == [1, 1]
    assert strategy.boundary(UP_TO_8, points) == (None, 1)


def test_memory_that_ran_out_once_is_no_load_that_holds() -> None:
    """A value that held and then did not is above the boundary: the search goes on below it."""
    points = climbed(UP_TO_8, lambda value, round: value < 4 or (value == 4 and round == 1))
    assert strategy.boundary(UP_TO_8, points) == (3, 4)


def test_rates_are_searched_to_5_percent() -> None:
    """Where values are no whole numbers the gap is halved until it is at most 5 %."""
    points = climbed(P90, lambda value, _: value <= 33)
    held, broke = strategy.boundary(P90, points)
    assert held <= 33 < broke <= 1.05 * held  # type: ignore[operator]


def test_large_numbers_are_searched_to_5_percent() -> None:
    """Whole numbers too are known well enough at 5 %: every point costs a trial."""
    goal = Goal(kind=OOM, variable="batch_size", steps=(1, 1000))
    points = climbed(goal, lambda value, _: value <= 700)
    held, broke = strategy.boundary(goal, points)
    assert held <= 700 < broke <= 1.05 * held  # type: ignore[operator]
    assert all(value == int(value) for value in values(points))


def test_the_majority_of_three_decides_about_latency() -> None:
    """One slow trial is chance, and one fast one too: two of three decide, and a third is measured only for that."""
    odd = {(20.0, 2): False, (40.0, 1): True, (40.0, 2): False, (40.0, 3): False, (80.0, 1): False}
    points = climbed(P90, lambda value, round: odd.get((value, round), value <= 20))
    held, broke = strategy.boundary(P90, points)
    assert held == 20
    assert values(points).count(20) == 3
    assert values(points).count(broke) == 2  # type: ignore[arg-type]
    assert values(points).count(40) == 1 or values(points).count(40) == 3


def test_a_third_measurement_decides_before_anything_else_is_tried() -> None:
    """Where a value held and did not, the search goes neither up nor down until that is decided."""
    odd = {(40.0, 1): False, (40.0, 2): True, (40.0, 3): False}
    points = climbed(P90, lambda value, round: odd.get((value, round), value < 40))
    assert values(points).count(40) == 3
    assert strategy.boundary(P90, points)[1] == 40
    assert 80 not in values(points)


def test_what_says_nothing_ends_the_search() -> None:
    """A point that could not be judged is no boundary: the search ends, and says that it has no answer."""
    points = [tried(1, HELD), tried(2, UNKNOWN)]
    assert strategy.next_value(UP_TO_8, points) is None
    found = came_to(points)
    assert (found.is_over, found.feasible_max, found.first_breach) == (False, 1, None)


@pytest.mark.parametrize(("late", "is_over"), [(0, True), (1, True), (2, True), (3, False)])
def test_a_late_client_is_measured_again(late: int, is_over: bool) -> None:
    """A value at which the client was late is measured again, and after three times there is no answer."""
    points: list[SearchPoint] = []
    while (value := strategy.next_value(P90, points)) is not None:
        times = sum(point.value == value for point in points)
        verdict = LATE if value == 40 and times < late else HELD if value < 60 else BROKE
        points.append(tried(value, verdict, 1 + times))
    found = strategy.search_result(P90, "fake", "m", points, unit="images")
    assert found.is_over == is_over
    assert values(points).count(40) == max(1, late + is_over)
    assert (found.feasible_max or 0) == (20 if not is_over else strategy.boundary(P90, points)[0])


def test_a_search_that_was_cut_short_is_not_over() -> None:
    """Points that leave something to try have not come to an answer."""
    assert not came_to([tried(1, HELD)]).is_over
    assert came_to(climbed(UP_TO_8, lambda *_: True)).is_over


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("p99<100ms", ("p99", 100)), ("p99.9<0.5s", ("p99_9", 500)), (" p50 < 2 ms", ("p50", 2))],
)
def test_a_threshold_is_read(text: str, parsed: tuple[str, float]) -> None:
    """A threshold is a percentile and a time with its unit."""
    assert strategy.threshold(text) == parsed
    goal = Goal(kind=LATENCY, variable="concurrency", steps=(1,), percentile=parsed[0], limit_ms=parsed[1])
    assert strategy.threshold(str(goal.threshold)) == parsed


@pytest.mark.parametrize("text", ["", "p99", "p42<1ms", "p99<100", "p99<-1ms", "p99<nanms", "p99>1ms", "mean<1ms"])
def test_a_wrong_threshold_is_refused(text: str) -> None:
    """What is no threshold is refused with an example and the percentiles that there are."""
    with pytest.raises(ConfigError, match=r"write one like p99<100ms, of p50, p90"):
        strategy.threshold(text)


def test_doublings_end_at_the_high_end() -> None:
    """The steps of a range double from its low end, and its high end is one of them."""
    assert strategy.doublings(5, 50) == (5, 10, 20, 40, 50)
    assert strategy.doublings(2, 8) == (2, 4, 8)


def test_a_step_is_a_load() -> None:
    """A step of a search is a benchmark of its own: a rate opens the loop, and workers stay whole numbers."""
    by_batch = Goal(kind=OOM, variable="batch_size", steps=(1, 2))
    assert strategy.at(Benchmark(concurrency=2), P90, 7.5).loads[0].request_rate == (7.5,)
    assert strategy.at(Benchmark(concurrency=2), P90, 7.5).loads[0].concurrency is None
    assert strategy.at(Benchmark(), by_batch, 12.0).loads[0].batch_size == 12


@pytest.mark.parametrize(
    ("percentile", "limit_ms", "rate", "seconds"),
    [
        ("p90", 500, 800, 10),  # not the 0.1 s that 100 requests take
        ("p90", 2000, 800, 40),
        ("p50", 50, 100, 15),
        ("p99", 50, 5, 89),
        ("p50", 50, 1, 60),
    ],
)
def test_a_step_lasts_as_long_as_its_rate_needs(percentile: str, limit_ms: float, rate: float, seconds: float) -> None:
    """At least 10 s and 20 limits, and enough requests for the percentile; a repeat is not shorter."""
    goal = replace(P90, percentile=percentile, limit_ms=limit_ms, is_adaptive=True)
    (step,) = strategy.at(Benchmark(request_count=100), goal, rate).loads
    assert (step.duration, step.request_count) == (seconds, None)
    assert strategy.step_s(goal, rate, workers=1, round=2) >= seconds
    assert strategy.at(Benchmark(request_count=100), P90, rate).loads[0].request_count == 100


def test_a_rate_that_overload_showed_to_be_too_much_does_not_hold() -> None:
    """At what an overloaded server answers a queue grows for longer than a trial lasts, so none shows that it holds."""
    points = climbed(P90, lambda value, _: value < 80)
    assert strategy.boundary(P90, points)[0] > 70
    seen = [replace(each, capacity_rps=71.0) if each.value == 80 else each for each in points]
    held, broke = strategy.boundary(P90, seen)
    assert held <= 0.98 * 71 < broke
    found = strategy.search_result(P90, "fake", "m", seen, unit="images")
    assert found.feasible_max <= 0.98 * 71
    assert "the server answers at most 71 requests/s" in str(found.reason) or found.reason is None
