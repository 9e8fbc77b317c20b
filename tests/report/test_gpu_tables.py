"""What the GPU did, as people read it."""

from pathlib import Path

from helpers import MS, lanes, observed, results, summary, telemetry

from raybench.analysis.summary import Summary
from raybench.config import search_goal
from raybench.report import report
from raybench.report.gpu_tables import gpu_tables
from raybench.report.html import page
from raybench.report.result_table import row_names
from raybench.report.text import markdown
from raybench.results import results_folder
from raybench.results.records import TelemetryRecord
from raybench.results.results_folder import ObservedTrial

SAW = TelemetryRecord(node="host-1", gpu_source="nvidia-smi")
SPAN = lanes([(-1, 0), (0, 5_000), (5_000, 10_000)], items=6_000)  # the window: 0 to 10 s
PLAIN = {"kind": "gpu", "id": "a", "phase": "load", "gpu_used_mib": 591.0}
BUSY = {"gpu_utilization_pct": 60.0, "gpu_power_w": 300.0, "gpu_sm_clock_mhz": 1980.0}


def measured(label: str = "triton x1", *, round: int = 1, **gpu: float | None) -> ObservedTrial:
    """A trial of 12,000 images whose GPU was busy 60 % at 300 W and 1980 MHz, but for what it says otherwise."""
    rows = [{**PLAIN, **BUSY, **gpu, "time_ns": at * MS} for at in range(0, 10_001, 200)]
    return observed(SPAN, telemetry(*rows), label=label, round=round, telemetry=SAW)


def rows(shown: Summary) -> list[tuple[str, ...]]:
    return [row for table in gpu_tables(shown, row_names(shown)) for row in table.rows]


def test_a_gpu_is_a_row_in_units_for_people() -> None:
    """Utilization, power, clock, energy of the window, and items by a joule: means over the rounds."""
    assert rows(summary(measured())) == [("triton x1", "60", "300", "1980", "3000", "4")]
    twice = summary(measured(), measured(round=2, gpu_utilization_pct=80.0, gpu_power_w=600.0, gpu_sm_clock_mhz=1780.0))
    assert rows(twice) == [("triton x1", "70", "450", "1880", "4500", "3")]


def test_what_was_not_read_is_a_dash() -> None:
    """Without evidence there is a dash and no 0; a server of whose GPU nothing is known has no row."""
    shown = summary(measured(gpu_power_w=None), measured("local", gpu_sm_clock_mhz=None))
    assert sorted(rows(shown)) == [("local", "60", "300", "–", "3000", "4"), ("triton x1", "60", "–", "1980", "–", "–")]
    unread = observed(SPAN, label="local")
    assert [row[0] for row in rows(summary(measured(), unread))] == ["triton x1"]
    assert rows(summary(unread)) == []


def test_the_table_is_among_the_details_and_on_the_page(tmp_path: Path) -> None:
    """--details and report.html have the columns, with their units; without --details they are left out."""
    folder = results(tmp_path, measured())
    found = report(folder)
    head = "| server | utilization % | power W | SM clock MHz | energy J | images/J |"
    assert head in markdown(found, is_detailed=True)
    assert "| triton x1 | 60 | 300 | 1980 | 3000 | 4 |" in markdown(found, is_detailed=True)
    assert head not in markdown(found)
    html = page(results_folder.load(folder), found)
    assert "The GPU in the window" in html
    assert "<td>1980</td>" in html


def test_a_search_has_its_curve_instead() -> None:
    """The points of a search are no rows of this table."""
    goal = search_goal.Goal(kind=search_goal.OOM, variable="workers", steps=(1, 2))
    assert rows(summary(measured(), goal=goal)) == []
