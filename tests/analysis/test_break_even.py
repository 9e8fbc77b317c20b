"""Which of several results is cheaper, and from which rate another stays so."""

from dataclasses import replace

import pytest

from raybench.analysis.break_even import BreakEven, PricedSizing, break_evens
from raybench.analysis.replica_rate import ReplicaRate
from raybench.analysis.sizing import CostRange, DeploymentCost, Sizing, replicas_for
from raybench.config.demand import INFERENCES, Demand, Price


def priced(
    results: str,
    low_rps: float | None,
    per_hour: float | None,
    *,
    high_rps: float | None = None,
    rate: float = 100,
    unit: str = "requests",
    headroom: float = 0.0,
    spare: int = 0,
    batch_size: int = 1,
    currency: str = "$",
    model: str = "m",
) -> PricedSizing:
    """A sizing for a rate, of a replica that holds `low_rps` for `per_hour`."""
    its = None if per_hour is None else Price(per_hour=per_hour, currency=currency)
    wanted = Demand(rate=rate, unit=unit, headroom=headroom, spare=spare, price=its)
    asked = wanted.rps(batch_size)
    most, fewest = (replicas_for(asked, rps, wanted) if rps else None for rps in (low_rps, high_rps))
    month = CostRange(cost=most * its.per_hour, low=fewest * its.per_hour if fewest else None) if most and its else None
    sizing = Sizing(
        server="triton x1",
        model=model,
        signature="s",
        unit="images",
        batch_size=batch_size,
        demand=wanted,
        rate=ReplicaRate(low_rps=low_rps, high_rps=high_rps, source="test"),
        request_rate=asked,
        replicas=most,
        replicas_low=fewest,
        cost=DeploymentCost(currency=currency, per_million_inferences=month, per_month=month) if month else None,
        joules_per_inference=None,
    )
    return PricedSizing(results=results, sizing=sizing)


def one(*sizings: PricedSizing) -> BreakEven:
    (found,) = break_evens(sizings)
    return found


def test_the_rate_from_which_the_other_stays_cheaper() -> None:
    """A replica of 10/s for 1 against one of 100/s for 4.5: at 20/s 2 against 4.5; the other stays cheaper above 40/s.

    From 40 to 100/s it is 5 and more against 4.5; from 100 to 200/s 11 and more against 9; and so on.
    """
    found = one(priced("cpu", 10, 1.0, rate=20), priced("gpu", 100, 4.5, rate=20))
    assert (found.cheaper.results, found.other.results) == ("cpu", "gpu")
    assert found.overtaken_above == pytest.approx(40)
    assert found.searched_to == 2000


def test_a_step_back_is_seen() -> None:
    """For 9.5 in place of 4.5 it is cheaper from 90 to 100/s, and dearer again above: there 11 to 19 are less than 19.

    It stays cheaper above the last rate at which it is not: at 190/s, where both cost 19.
    """
    found = one(priced("cpu", 10, 1.0, rate=20), priced("gpu", 100, 9.5, rate=20))
    by_hand = max(
        rate
        for rate in range(20, 2000)
        if -(-rate // 100) * 9.5 >= -(-rate // 10)  # at whole rates, which are the ends of steps of 10
    )
    assert found.overtaken_above == pytest.approx(by_hand)


def test_headroom_spare_and_items_move_it() -> None:
    """With 25 % headroom a replica of 10/s serves 8/s; of 8 items each, 64 items/s; a spare costs what it costs."""
    plain = {"rate": 20, "headroom": 0.25}
    found = one(priced("cpu", 10, 1.0, **plain), priced("gpu", 100, 4.5, **plain))  # type: ignore[arg-type]
    assert found.overtaken_above == pytest.approx(32)
    items = {"rate": 160, "headroom": 0.25, "unit": INFERENCES, "batch_size": 8}
    found = one(priced("cpu", 10, 1.0, **items), priced("gpu", 100, 4.5, **items))  # type: ignore[arg-type]
    assert found.overtaken_above == pytest.approx(256)
    spare = {"rate": 20, "spare": 1}
    found = one(priced("cpu", 10, 1.0, **spare), priced("gpu", 100, 4.5, **spare))  # type: ignore[arg-type]
    assert found.overtaken_above == pytest.approx(120)  # from 100 to 200/s 13.5, which 13 at 120/s is still below


def test_there_may_be_no_such_rate() -> None:
    """What costs more per request never stays cheaper, up to 100 times the asked rate."""
    found = one(priced("cpu", 10, 1.0), priced("gpu", 100, 10.5))
    assert (found.cheaper.results, found.overtaken_above) == ("cpu", None)


def test_a_tie_is_no_winner() -> None:
    """Two that cost the same are said to."""
    found = one(priced("a", 10, 1.0), priced("b", 10, 1.0))
    assert found.is_tie
    assert not found.is_shown
    assert found.overtaken_above is None


@pytest.mark.parametrize(("high_rps", "is_shown"), [(None, False), (60, False), (24, True)])
def test_a_difference_within_the_intervals_is_not_shown(high_rps: float | None, is_shown: bool) -> None:
    """10 replicas for 1 an hour against 5 for 2.3: it is shown only if the upper end of the rate changes nothing."""
    found = one(priced("a", 10, 1.0, high_rps=12), priced("b", 20, 2.3, high_rps=high_rps))
    assert (found.cheaper.results, found.is_shown) == ("a", is_shown)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (priced("b", None, 1.0), "triton x1 in b has no known rate"),
        (priced("b", 10, None), "triton x1 in b has no price"),
        (priced("b", 10, 1.0, currency="EUR"), "prices are in $ and EUR"),
        (priced("b", 10, 1.0, batch_size=8), "requests of 1 and of 8 items are not alike: give --inference-rate"),
        (priced("b", 0.001, 1.0), "the replicas are too many to search for a break-even"),
    ],
)
def test_what_cannot_be_compared_says_why(other: PricedSizing, why: str) -> None:
    """Without evidence there is no break-even, and a sentence in its place."""
    found = one(priced("a", 10, 0.5), other)
    assert (found.reason, found.overtaken_above, found.is_shown) == (why, None, False)


def test_the_cheapest_of_each_results_counts() -> None:
    """Of several servers of a folder the cheapest is compared; models by name where folders share one."""
    slow = priced("a", 10, 1.0)
    fast = replace(slow, sizing=replace(slow.sizing, server="fast", replicas=5))
    found = one(slow, fast, priced("b", 10, 2.0), priced("b", 1000, 0.001, model="other"))
    assert (found.cheaper.sizing.server, found.other.results, found.other.sizing.model) == ("fast", "b", "m")
    assert break_evens([slow, fast]) == ()
    assert one(slow, priced("b", 10, 2.0, model="other")).other.sizing.model == "other"
    assert len(break_evens([slow, priced("b", 10, 2.0), priced("c", 10, 3.0)])) == 2
