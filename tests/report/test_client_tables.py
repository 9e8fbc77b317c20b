"""What each item costs the client, as people and other programs read it."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import lanes, observed, results, summary
from record_builders import PHOTOS, load, worker_facts

from raybench.analysis.summary import Summary
from raybench.config import search_goal
from raybench.report import csv_table, report
from raybench.report.client_tables import client_tables, size
from raybench.report.html import page
from raybench.report.result_table import row_names
from raybench.report.text import markdown
from raybench.results import results_folder
from raybench.results.records import ConversionCost
from raybench.results.results_folder import ObservedTrial

STEADY = [(i * 10, i * 10 + 10) for i in range(4)]
MEASURED = worker_facts(
    encoded=ConversionCost(items=8, body_bytes=1_204_224, cpu_s=0.0002),
    decoded=ConversionCost(items=4, body_bytes=16_000, cpu_s=0.000005),
)


def measured(label: str = "triton x1", **changes: object) -> ObservedTrial:
    rows = lanes(STEADY, items=2, sent_bytes=301_056, received_bytes=8_000)
    return observed(rows, label=label, **{"workers": [MEASURED], **changes})


def rows(shown: Summary) -> list[tuple[str, ...]]:
    return [row for table in client_tables(shown, row_names(shown)) for row in table.rows]


def test_the_cost_of_an_item_is_a_row_in_units_for_people() -> None:
    """A row for each cell: bytes in kB or MB, CPU time in ms, a dash for what is not known."""
    shown = summary(measured(), measured("fake", load=load(transport="in process"), workers=[worker_facts()]))
    assert rows(shown) == [("triton x1", "151 kB", "4 kB", "0.025", "62.5", "0.00125")]
    assert rows(summary(measured(workers=[worker_facts()]))) == [("triton x1", "151 kB", "4 kB", "–", "62.5", "–")]


def test_the_table_is_among_the_details_and_on_the_page(tmp_path: Path) -> None:
    """--details and report.html have the table, which names the item; without --details it is left out."""
    folder = results(tmp_path, measured())
    found = report(folder)
    text, title = markdown(found, is_detailed=True), "What each image costs the client"
    assert title in text
    assert "| triton x1 | 151 kB | 4 kB | 0.025 | 62.5 | 0.00125 |" in text
    assert title not in markdown(found)
    html = page(results_folder.load(folder), found)
    assert title in html
    assert "<td>151 kB</td>" in html


def test_an_item_that_is_no_image_is_an_item() -> None:
    """The title names images only where all items are images."""
    rows_of_a_table = replace(PHOTOS, unit="inferences")
    shown = summary(measured(input=rows_of_a_table))
    assert client_tables(shown, row_names(shown))[0].title == "What each item costs the client"


def test_a_search_has_its_curve_instead() -> None:
    """The points of a search are no rows of this table."""
    goal = search_goal.Goal(kind=search_goal.OOM, variable="workers", steps=(1, 2))
    assert rows(summary(measured(), goal=goal)) == []


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [(None, "–"), (0, "0 B"), (0.5, "0.5 B"), (999, "999 B"), (1000, "1 kB"), (150_528, "151 kB"), (2.4e9, "2.4 GB")],
)
def test_sizes_are_read_at_a_glance(bytes_: float | None, text: str) -> None:
    """A size has three digits and the largest unit of which it is one or more."""
    assert size(bytes_) == text


def test_other_programs_have_the_cost_too() -> None:
    """The CSV's last columns are bytes and microseconds of an item; what is not known is empty."""
    shown = summary(measured(), measured(round=2, workers=[worker_facts()]))
    names = ("Request Bytes/Item", "Reply Bytes/Item", "Encode/Item", "Decode/Item")
    found = [[line[name] for name in names] for line in csv.DictReader(io.StringIO(csv_table.csv_text(shown)))]
    assert found == [["150528", "4000", "25", "1.25"], ["150528", "4000", "", ""]]
