"""docs/sizing.md says what the code computes and prints."""

import re
from dataclasses import replace

import pytest
from helpers import summary, trial
from readme import PAGES
from record_builders import load

from raybench.analysis.search.strategy import HELD, SearchPoint, SearchResult
from raybench.analysis.sizing import sizings
from raybench.config.demand import demand, price
from raybench.report.sizing_tables import ASSUMPTION, sizing_lines

PAGE = PAGES["docs/sizing.md"]
POINT = SearchPoint(
    trial="r1-triton-x1-resnet50-no-opt",
    value=52,
    round=1,
    verdict=HELD,
    reason=None,
    requests=1500,
    failed=0,
    latency_ms=180,
    inferences_per_s=416,
    goodput_rps=52,
)
FOUND = SearchResult(
    kind="latency",
    variable="request_rate",
    threshold="p99<200ms",
    server="triton x1",
    model="resnet50-no-opt",
    unit="images",
    is_over=True,
    feasible_max=52,
    first_breach=54.5,
    goodput_rps=52,
    reason=None,
    points=(POINT,),
)


def test_the_worked_example_is_what_is_printed() -> None:
    """The example of the page is printed for its numbers, and the sums in its text are the printed ones."""
    results = replace(summary(), trials=(trial(load=load(batch_size=8)),), search=(FOUND,))
    wanted = replace(demand(request_rate=500, headroom="30%", spare=1), price=price("$2.50/h"))
    *lines, assumed = sizing_lines(sizings(results, wanted))
    (example,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)
    assert example.splitlines() == lines
    assert assumed == ASSUMPTION
    assert 14 * 2.5 * 730 == 25_550
    assert pytest.approx(2.43, rel=0.01) == 1e6 / (500 * 8 * 3600) * 14 * 2.5
