"""Sizings of several results -> which is cheapest at a rate, and from which rate another stays cheaper; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raybench.analysis.sizing import Sizing

_FARTHEST = 100.0  # times the asked rate
_MOST_STEPS = 10**6


@dataclass(frozen=True, kw_only=True)
class PricedSizing:
    """A sizing, and the name of the results that it comes from."""

    results: str
    sizing: Sizing

    @property
    def per_hour(self) -> float | None:
        """The cost of an hour of its replicas; None is not known."""
        price = self.sizing.demand.price
        return self.sizing.replicas * price.per_hour if price and self.sizing.replicas else None


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """Two priced sizings of one demand: the `cheaper` at the asked rate, and when the `other` takes over.

    `is_shown`: the intervals of the two costs do not overlap. `overtaken_above` is the rate above which the other stays
    cheaper up to `searched_to`, both in the demand's unit a second; None is nowhere. A `reason` says why nothing is
    known.
    """

    cheaper: PricedSizing
    other: PricedSizing
    is_tie: bool = False
    is_shown: bool = False
    overtaken_above: float | None = None
    searched_to: float | None = None
    reason: str | None = None


def break_evens(sizings: Sequence[PricedSizing]) -> tuple[BreakEven, ...]:
    """The cheapest sizing of each results folder, the cheapest of all compared with each of the others.

    Models are compared by name where folders have one in common, else whatever each folder has.
    """
    found: list[BreakEven] = []
    for group in _comparable(sizings):
        best = [min(each, key=_cost) for each in _by_results(group).values()]
        first, *others = sorted(best, key=_cost)
        found += [_between(first, other) for other in others]
    return tuple(found)


def _comparable(sizings: Sequence[PricedSizing]) -> list[list[PricedSizing]]:
    by_model: dict[str, list[PricedSizing]] = {}
    for each in sizings:
        by_model.setdefault(each.sizing.model, []).append(each)
    shared = [group for group in by_model.values() if len(_by_results(group)) > 1]
    return shared or ([list(sizings)] if len(_by_results(sizings)) > 1 else [])


def _by_results(sizings: Sequence[PricedSizing]) -> dict[str, list[PricedSizing]]:
    groups: dict[str, list[PricedSizing]] = {}
    for each in sizings:
        groups.setdefault(each.results, []).append(each)
    return groups


def _cost(each: PricedSizing) -> float:
    return float("inf") if each.per_hour is None else each.per_hour


def _between(cheaper: PricedSizing, other: PricedSizing) -> BreakEven:
    if why := _unlike(cheaper, other):
        return BreakEven(cheaper=cheaper, other=other, reason=why)
    asked = cheaper.sizing.demand.rate
    above = _overtaken_above(cheaper.sizing, other.sizing, asked, _FARTHEST * asked)
    least = other.sizing.cost.per_month.low if other.sizing.cost else None
    most = cheaper.sizing.cost.per_month.cost if cheaper.sizing.cost else None
    return BreakEven(
        cheaper=cheaper,
        other=other,
        is_tie=cheaper.per_hour == other.per_hour,
        is_shown=least is not None and most is not None and most < least,
        overtaken_above=above,
        searched_to=_FARTHEST * asked,
    )


def _unlike(one: PricedSizing, other: PricedSizing) -> str | None:
    """Why two sizings cannot be compared by their costs."""
    for each in (one, other):
        if each.per_hour is None:
            missing = "has no price" if each.sizing.demand.price is None else "has no known rate"
            return f"{each.sizing.server} in {each.results} {missing}"
    mine, its = one.sizing.demand, other.sizing.demand
    if mine.price and its.price and mine.price.currency != its.price.currency:
        return f"prices are in {mine.price.currency or 'no currency'} and {its.price.currency or 'no currency'}"
    if mine.unit == "requests" and one.sizing.batch_size != other.sizing.batch_size:
        sizes = f"{one.sizing.batch_size} and of {other.sizing.batch_size} items"
        return f"requests of {sizes} are not alike: give --inference-rate"
    if max(one.sizing.replicas or 0, other.sizing.replicas or 0) * _FARTHEST > _MOST_STEPS:
        return "the replicas are too many to search for a break-even"
    return None


def _overtaken_above(cheaper: Sizing, other: Sizing, asked: float, farthest: float) -> float | None:
    """The rate above which the other costs less at each rate up to the farthest; both costs are steps of the rate."""
    of_each = (_edges(each, asked, farthest) for each in (cheaper, other))
    edges = np.unique(np.concatenate([[asked, farthest], *of_each]))
    middles = (edges[:-1] + edges[1:]) / 2  # a step ends at an edge, where rounding decides
    is_dearer = _per_hour(other, middles) >= _per_hour(cheaper, middles)
    if not is_dearer.any():
        return float(edges[0])
    last = int(np.flatnonzero(is_dearer)[-1])
    return None if last == len(middles) - 1 else float(edges[last + 1])


def _edges(sizing: Sizing, asked: float, farthest: float) -> np.ndarray:
    """The rates between the two at which another replica is needed; float [n]."""
    step = _step(sizing)
    edges = step * np.arange(np.floor(asked / step), np.ceil(farthest / step) + 1)
    return np.asarray(edges[(edges > asked) & (edges < farthest)])


def _per_hour(sizing: Sizing, rates: np.ndarray) -> np.ndarray:
    price = sizing.demand.price
    replicas = np.ceil(rates / _step(sizing)) + sizing.demand.spare
    return np.asarray(replicas * (price.per_hour if price else np.inf))


def _step(sizing: Sizing) -> float:
    """The rate, in the demand's unit, that one replica serves with its headroom."""
    rps = (sizing.rate.low_rps or np.inf) / (1 + sizing.demand.headroom)
    return rps * sizing.batch_size if sizing.demand.unit == "inferences" else rps
