"""raybench size: how many replicas a stated rate needs, and what they cost."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import click

from raybench.cli.usage_errors import WrongInput
from raybench.config import ConfigError

if TYPE_CHECKING:
    from raybench.analysis.break_even import PricedSizing
    from raybench.config.demand import Demand

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def demand_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The flags that say what is to be served, and how much more."""
    rate, items = "Say how many replicas serve this many requests per second.", "The same for items (such as images)."
    more, spare = "Sizing: capacity beyond the rate.", "Sizing: replicas beyond those, for when one fails."
    options = [
        click.option("--request-rate", type=float, metavar="R", help=rate),
        click.option("--inference-rate", type=float, metavar="R", help=items),
        click.option("--headroom", default="30%", show_default=True, metavar="SHARE", help=more),
        click.option("--spare", type=int, default=0, show_default=True, help=spare),
    ]
    return reduce(lambda decorated, option: option(decorated), reversed(options), command)


@click.command()
@click.argument("results", metavar="RESULTS...", type=_FOLDER, nargs=-1, required=True)
@demand_flags
@click.option(
    "--price",
    multiple=True,
    metavar="PRICE",
    help="Price of a replica, such as 2.50/h or $1800/month; repeatable, one per RESULTS.",
)
@click.option("--latency-threshold", metavar="EXPR", help="Count only rates that held this, such as p99<100ms.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def size(
    results: tuple[Path, ...],
    request_rate: float | None,
    inference_rate: float | None,
    headroom: str,
    spare: int,
    price: tuple[str, ...],
    latency_threshold: str | None,
    is_json: bool,
) -> None:
    """Say how many replicas of each measured server hold a rate, and what they cost.

    RESULTS are folders of `raybench search`, `raybench tune` or `raybench run`. With a price for each of several, the
    cheapest is named, and the rate above which another is cheaper.

    \b
    raybench size results/search-20260101T120000Z --request-rate 500 --spare 1 --price '2.50/h'
    raybench size results/cpu-20260101T120000Z results/gpu-20260101T130000Z --inference-rate 4000 \\
        --price '0.40/h' --price '2.50/h'
    """
    from raybench.config.demand import demand
    from raybench.results import ResultsError

    try:
        wanted = demand(
            request_rate=request_rate,
            inference_rate=inference_rate,
            headroom=headroom,
            spare=spare,
            latency_threshold=latency_threshold,
        )
        demands = _priced(wanted, price, len(results))
        asked = zip(results, _names(results), demands, strict=True)
        found = [each for folder, name, its in asked for each in _sized(folder, name, its)]
    except (ConfigError, ResultsError) as error:
        raise WrongInput(str(error)) from error
    from raybench.report import sizing_tables

    click.echo(sizing_tables.as_json(found) if is_json else sizing_tables.as_text(found))


def _names(results: Sequence[Path]) -> list[str]:
    """The folders as they were given; a number tells those apart that were given several times, with other prices."""
    seen = [str(folder) for folder in results]
    numbers = [seen[: at + 1].count(name) for at, name in enumerate(seen)]
    return [name if number == 1 else f"{name} ({number})" for name, number in zip(seen, numbers, strict=True)]


def _priced(wanted: "Demand", prices: Sequence[str], results: int) -> "list[Demand]":
    """The demand of each results folder, with its price; raises ConfigError."""
    from raybench.config.demand import price

    if len(prices) not in (0, 1, results):
        raise ConfigError(f"price is given {len(prices)} times; give one for all results, or one for each of {results}")
    found = [price(text) for text in prices]
    each = found if len(found) == results else found * results
    return [replace(wanted, price=its) for its in each] or [wanted] * results


def _sized(folder: Path, name: str, wanted: "Demand") -> "list[PricedSizing]":
    """The sizings of a results folder; raises ResultsError where it is none, or damaged."""
    from raybench.analysis.break_even import PricedSizing
    from raybench.analysis.sizing import sizings
    from raybench.report import report
    from raybench.results import ResultsError

    summary = report(folder)
    if summary.damaged:
        raise ResultsError(f"{folder}: {summary.damaged[0]}: size from results that are whole")
    if not summary.trials:
        raise ResultsError(f"{folder}: has no trials to size from: finish the run, or name other results")
    return [PricedSizing(results=name, sizing=each) for each in sizings(summary, wanted)]
