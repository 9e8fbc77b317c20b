"""Rounds -> intervals and rows."""

import math
from dataclasses import replace

import pytest
from helpers import lanes, rated, telemetry, trial

from raybench.analysis import cells


def test_an_interval_is_students() -> None:
    """Three rounds of 1, 2, 3 give 2 ± 4.3027 / √3: Student's t with two degrees of freedom, not the normal's 1.96."""
    found = cells.interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (found.mean, found.rounds) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([7.0], cells.Interval(mean=7, low=None, high=None, rounds=1))]
)
def test_one_round_has_no_interval(values: list[float], expected: cells.Interval | None) -> None:
    """One round says nothing about repeatability: its bounds are null; no round is null altogether."""
    assert cells.interval(values) == expected


def test_a_row_is_the_mean_over_its_rounds() -> None:
    """A row of the table holds means over rounds, and the highest memory of any."""
    peaks = [telemetry({"kind": "process", "id": "7", "rss_mib": mib}) for mib in (50.0, 80.0)]
    steady = [lanes([(i * ms, (i + 1) * ms) for i in range(10)]) for ms in (10, 30)]
    (row,) = cells.summarize_cells(trial(steady[n], peaks[n], round=n + 1) for n in (0, 1))
    assert (row.p50_ms, row.memory_peak_mib, row.gpu_peak_mib) == (pytest.approx(20), 80, None)
    assert row.inferences_per_s.mean == pytest.approx((100 + 1000 / 30) / 2)
    assert row.job_s.mean == pytest.approx((0.1 + 0.3) / 2)
    assert len(row.trials) == 2


def test_a_row_has_a_percentile_only_if_every_round_has() -> None:
    """A percentile that one round cannot support is not given for the cell."""
    long, short = lanes([(i, i + 1) for i in range(40)]), lanes([(i, i + 1) for i in range(20)])
    (row,) = cells.summarize_cells([trial(long), trial(short, round=2)])
    assert row.p50_ms == pytest.approx(1)
    assert row.p90_ms is None


def test_a_row_tells_of_the_round_that_went_wrong() -> None:
    """A cell with one bad round shows that round's status and reason beside the numbers of the good ones."""
    bad = replace(rated("triton x1", 2, None), status="failed", reason="it died")
    (row,) = cells.summarize_cells([rated("triton x1", 1, 10.0), bad, rated("triton x1", 3, 30.0)])
    assert (row.status, row.reason) == ("failed", "it died")
    assert (row.inferences_per_s.mean, row.inferences_per_s.rounds) == (20, 2)


@pytest.mark.parametrize("changes", [{"status": "degraded"}, {"status": "failed"}])
def test_only_whole_trials_make_a_row(changes: dict) -> None:
    """A trial that was cut short moves no mean of a row that has whole ones."""
    (cell,) = cells.summarize_cells([rated("triton x1", 1, 100.0), rated("triton x1", 2, 10.0, **changes)])
    assert cell.inferences_per_s == cells.Interval(mean=100.0, low=None, high=None, rounds=1)


def test_a_round_without_a_window_is_counted() -> None:
    """Rounds that were too slow to have a window do not leave the row: the mean says over how many it is, percentiles
    that one round cannot give are none, and the job time is that of all."""
    steady = [trial(lanes([(i * 10, i * 10 + 10) for i in range(40)]), round=n) for n in (1, 2)]
    slow = [trial(lanes([(0, 500)]), round=n) for n in (3, 4, 5)]
    row = cells.summarize_cells([*steady, *slow])[0]
    assert (row.inferences_per_s.rounds, row.job_s.rounds, len(row.trials)) == (2, 5, 5)
    assert row.job_s.mean == pytest.approx((2 * 0.4 + 3 * 0.5) / 5)
    assert row.p50_ms is None


def test_a_row_without_any_window_has_its_job_time() -> None:
    """Where no round has a window the job time is still known."""
    (row,) = cells.summarize_cells([trial(lanes([(0, 500)]), round=n) for n in (1, 2)])
    assert (row.inferences_per_s, row.job_s.mean) == (None, pytest.approx(0.5))
