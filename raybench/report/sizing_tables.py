"""Sizings and break-evens as lines of text."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from raybench.analysis import units
from raybench.analysis.break_even import BreakEven, PricedSizing, break_evens
from raybench.analysis.plain_numbers import plain
from raybench.analysis.sizing import CostRange, Sizing
from raybench.config.demand import REQUESTS, Demand

ASSUMPTION = (
    "Assumes that requests are spread evenly and at random over replicas on hosts of their own, so that each gets a "
    "stream like the measured one (Poisson, if that was); a balancer that sends to the least busy does better, uneven "
    "spreading or a shared host worse."
)
_UNKNOWN = "not known"


def sizing_lines(found: Iterable[Sizing]) -> list[str]:
    """A block of lines for each sizing, and what all of them assume."""
    blocks = [line for each in found for line in _block(each)]
    return [*blocks, ASSUMPTION] if blocks else []


def as_text(found: Sequence[PricedSizing]) -> str:
    """The sizings of one or more results folders, what they assume, and which is cheaper where they have prices."""
    names = tuple(dict.fromkeys(each.results for each in found))
    lines: list[str] = []
    for results in names:
        lines += [f"{results}:"] if len(names) > 1 else []
        lines += [line for each in found if each.results == results for line in _block(each.sizing)]
    return "\n".join([*lines, ASSUMPTION, *map(_sentence, _compared(found))])


def as_json(found: Sequence[PricedSizing]) -> str:
    """The same as JSON: every field of each sizing, with the name of its results."""
    compared = [
        {**vars(each), "cheaper": _identity(each.cheaper), "other": _identity(each.other)} for each in _compared(found)
    ]
    sizings = [{"results": each.results, **asdict(each.sizing)} for each in found]
    return json.dumps({"sizings": sizings, "break_even": compared, "assumption": ASSUMPTION}, indent=2, allow_nan=False)


def _compared(found: Sequence[PricedSizing]) -> tuple[BreakEven, ...]:
    return break_evens(found) if any(each.sizing.demand.price for each in found) else ()


def _identity(found: PricedSizing) -> dict[str, Any]:
    return {"results": found.results, "server": found.sizing.server, "model": found.sizing.model}


def _block(found: Sizing) -> Iterator[str]:
    items = units.items(found.unit)
    yield f"{found.server}, {found.model}, {found.batch_size} {items} per request"
    yield f"  one replica    {_rate(found)}"
    yield f"  replicas       {_replicas(found)}"
    if found.cost:
        sign = found.cost.currency
        yield f"  cost           {_range(found.cost.per_month, sign)} a month"
        yield f"                 {_range(found.cost.per_million_inferences, sign)} per million {found.unit}"
    if found.joules_per_inference:
        low, high = found.joules_per_inference.low, found.joules_per_inference.high
        between = "" if low is None or high is None else f" ({plain(low)} to {plain(high)})"
        yield f"  GPU energy     {plain(found.joules_per_inference.mean)} J{between} per inference, as measured"


def _rate(found: Sizing) -> str:
    rate = found.rate
    if rate.low_rps is None:
        return f"{_UNKNOWN}: {rate.reason} ({rate.source})"
    high = f"up to {plain(rate.high_rps, 4)}" if rate.high_rps else "its upper end is not known"
    return (
        f"holds {plain(rate.low_rps, 4)} requests/s = {plain(rate.low_rps * found.batch_size, 4)} {found.unit}/s; "
        f"{high} ({rate.source})"
    )


def _replicas(found: Sizing) -> str:
    """The count by its formula, and what the upper end of the rate would make of it."""
    if found.replicas is None or found.rate.low_rps is None:
        return f"{_UNKNOWN}, for {_asked(found)}"
    wanted = found.demand
    fewest = found.replicas_low
    other = "" if fewest is None or fewest == found.replicas else f"; {fewest} by the upper end"
    terms = f"{plain(found.request_rate, 4)} x {1 + wanted.headroom:.12g} / {plain(found.rate.low_rps, 4)}"
    spare = f" + {wanted.spare}" if wanted.spare else ""
    return f"{found.replicas} = ceil({terms}){spare} for {_asked(found)}{_with(wanted)}{other}"


def _asked(found: Sizing) -> str:
    wanted = found.demand
    per_s = "requests" if wanted.unit == REQUESTS else found.unit
    return f"{plain(wanted.rate, 4)} {per_s}/s"


def _with(wanted: Demand) -> str:
    spare = f" and {wanted.spare} spare" if wanted.spare else ""
    return f" with {plain(100 * wanted.headroom)}% headroom{spare}"


def _range(found: CostRange, currency: str) -> str:
    """The cost, and in brackets its other end where that differs."""
    text = _money(found.cost, currency)
    if found.low is None:
        return f"at most {text}"
    return text if found.low == found.cost else f"{text} ({_money(found.low, currency)} by the upper end)"


def _money(amount: float, currency: str) -> str:
    number = f"{amount:,.2f}" if amount >= 1 else plain(amount)
    return f"{number} {currency}" if currency.isalpha() else f"{currency}{number}"


def _sentence(found: BreakEven) -> str:
    cheaper, other, wanted = _named(found.cheaper), _named(found.other), found.cheaper.sizing.demand
    if found.reason:
        return f"Which of {cheaper} and {other} is cheaper is {_UNKNOWN}: {found.reason}."
    rate = f"{plain(wanted.rate, 4)} {wanted.unit}/s"
    if found.is_tie:
        start = f"At {rate} {cheaper} and {other} cost the same"
    else:
        doubt = "" if found.is_shown else " by the rates that were shown to hold, but their intervals leave it open"
        start = f"At {rate} {cheaper} is cheaper than {other}{doubt}"
    if found.overtaken_above is not None:
        return f"{start}; above {plain(found.overtaken_above, 4)} {wanted.unit}/s {other} stays cheaper."
    farthest = plain(found.searched_to or 0, 4)
    return f"{start}; {other} does not stay cheaper from any rate up to {farthest} {wanted.unit}/s."


def _named(found: PricedSizing) -> str:
    return f"{found.sizing.server} in {found.results}"
