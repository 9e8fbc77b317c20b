"""docs/method.md says what the code does."""

import re
from pathlib import Path

import pytest

from raybench.analysis import comparisons
from raybench.analysis.latency import CONFIDENCE, PERCENTILES, samples_needed
from raybench.report.sentences import difference

ROOT = Path(__file__).parents[2]
METHOD = (ROOT / "docs" / "method.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in METHOD.splitlines() if line.startswith("|")]


def test_the_requests_that_percentiles_need() -> None:
    """The page's table of sample sizes is the code's rule."""
    (head,) = [row for row in ROWS if row[0] == "percentile"]
    (needs,) = [row for row in ROWS if row[0] == "requests needed"]
    assert [name.replace(".", "_") for name in head[1:]] == list(PERCENTILES)
    assert [int(need) for need in needs[1:]] == [samples_needed(p) for p in PERCENTILES.values()]


@pytest.mark.parametrize("rounds", [2, 3, 5, 8, 12])
def test_the_differences_that_would_be_seen(rounds: int) -> None:
    """The page's table of detectable differences is the code's, in the report's own words."""
    (row,) = [row for row in ROWS if row[0] == str(rounds)]
    seen = [difference(comparisons.detectable_ratio(scatter, rounds)) for scatter in (0.01, 0.03, 0.1)]
    assert row[1:] == [text.removeprefix("a difference of ") for text in seen]


def test_what_many_comparisons_would_show_by_chance() -> None:
    """The page's reason for Holm's procedure is the chance of an error among its example."""
    (count, percent) = map(
        int, re.search(r"compares (\d+) equal\s+servers.*?up to (\d+) of 100", METHOD, re.S).groups()
    )
    assert percent == round(100 * (1 - CONFIDENCE**count))


def test_the_files_that_the_page_names_are_there() -> None:
    """Who looks for a definition finds its home."""
    names = set(re.findall(r"`([a-z_/]+\.py)`", METHOD))
    assert names
    assert [name for name in names if not (ROOT / "raybench" / name).exists() and not (ROOT / name).exists()] == []


def test_the_readme_leads_there() -> None:
    """README sends who wants the definitions to the page."""
    assert "](docs/method.md)" in (ROOT / "README.md").read_text()
