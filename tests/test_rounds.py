"""Rounds -> intervals, rows and verdicts."""

import math
from dataclasses import replace
from typing import Any

import pytest
from helpers import lanes, rated, record, sample, telemetry, trial

from raybench import rounds, samples


def test_an_interval_is_students() -> None:
    """Three rounds of 1, 2, 3 give 2 ± 4.3027 / √3: Student's t with two degrees of freedom, not the normal's 1.96."""
    found = rounds.interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (found.mean, found.rounds) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([7.0], rounds.Interval(mean=7, low=None, high=None, rounds=1))]
)
def test_one_round_has_no_interval(values: list[float], expected: rounds.Interval | None) -> None:
    """One round says nothing about repeatability: its bounds are null; no round is null altogether."""
    assert rounds.interval(values) == expected


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([2.0, 2.1, 1.9], "faster"),
        ([0.50, 0.51, 0.49], "slower"),
        ([2.0, 0.5, 1.0], "no difference shown"),
        ([1.3, 0.9], "no difference shown"),
        ([1.0, 1.0, 1.0], "no difference shown"),
        ([5.0], None),
    ],
)
def test_a_verdict_needs_rounds_that_agree(ratios: list[float], verdict: str | None) -> None:
    """A server is faster or slower only where the interval over rounds leaves 1 out; with one round nothing is said."""
    pairs = [(rated("local", n, 100.0), rated("triton x1", n, 100.0 * r)) for n, r in enumerate(ratios, 1)]
    (found,) = rounds.compare(each for pair in pairs for each in pair)
    assert (found.base, found.server, found.rounds, found.verdict) == ("local", "triton x1", len(ratios), verdict)
    assert (found.low is None, found.high is None) == (verdict is None, verdict is None)


def test_a_comparison_is_the_geometric_mean_with_students_interval() -> None:
    """Ratios of 2 and 8 give 4, within 4^(1 ± 6.3531): t(1) = 12.7062 on the logs."""
    rates = [rated("local", 1, 10), rated("local", 2, 10), rated("triton x1", 1, 20), rated("triton x1", 2, 80)]
    (found,) = rounds.compare(rates)
    assert found.ratio == pytest.approx(4)
    assert (found.low, found.high) == pytest.approx((4 ** (1 - 6.3531), 4 ** (1 + 6.3531)), rel=1e-3)


def test_rounds_are_paired() -> None:
    """A machine that drifts between rounds hides nothing: what is 1.5 times in each round is faster."""
    drift = {1: 100.0, 2: 400.0, 3: 30.0}
    rates = [rated("local", n, x) for n, x in drift.items()] + [
        rated("triton x1", n, 1.5 * x) for n, x in drift.items()
    ]
    (found,) = rounds.compare(reversed(rates))
    assert (found.ratio, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))
    assert found.verdict == "faster"


def test_only_rounds_that_both_finished_are_compared() -> None:
    """A round in which one of two servers failed says nothing about their ratio."""
    rates = [rated("local", 1, 10), rated("local", 2, None), rated("triton x1", 1, 20), rated("triton x1", 2, 900)]
    (found,) = rounds.compare(rates)
    assert (found.ratio, found.rounds) == (pytest.approx(2), 1)
    assert rounds.compare([rated("local", 1, 10), rated("triton x1", 2, 20)]) == ()


def test_models_are_never_compared_with_each_other() -> None:
    """A comparison is of two servers on the same model, against local or else the first there is."""
    rates = [rated("local", 1, 1, model="a"), rated("triton x1", 1, 3, model="a"), rated("triton x2", 1, 4, model="a")]
    rates += [
        rated("triton x1", 1, 10, model="b"),
        rated("triton x2", 1, 5, model="b"),
        rated("local", 1, 1, model="c"),
    ]
    found = [(c.model, c.base, c.server, round(c.ratio, 6)) for c in rounds.compare(rates)]
    assert found == [
        ("a", "local", "triton x1", 3),
        ("a", "local", "triton x2", 4),
        ("b", "triton x1", "triton x2", 0.5),
    ]


@pytest.mark.parametrize("barren", ["local", "triton x1"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_comparison_holds_no_infinities(barren: str, number: int) -> None:
    """A server without a success in its window has no ratio: JSON knows nothing infinite."""
    failed = {"status": "UNAVAILABLE", "error": "x"}
    nothing = samples.table([sample(0, 10), sample(10, 20, **failed), sample(12, 20, lane=1, **failed)])
    trials = [
        trial(nothing if label == barren else None, label=label, round=n)
        for label in ("local", "triton x1")
        for n in range(number)
    ]
    values = [
        value for each in rounds.compare(trials) for value in (each.ratio, each.low, each.high) if value is not None
    ]
    assert all(map(math.isfinite, values))


def test_a_row_is_the_mean_over_its_rounds() -> None:
    """A row of the table holds means over rounds, and the highest memory of any."""
    peaks = [telemetry({"kind": "process", "id": "7", "rss_mib": mib}) for mib in (50.0, 80.0)]
    steady = [lanes([(i * ms, (i + 1) * ms) for i in range(10)]) for ms in (10, 30)]
    (row,) = rounds.summarize_cells(trial(steady[n], peaks[n], round=n + 1) for n in (0, 1))
    assert (row.p50_ms, row.memory_peak_mib, row.gpu_peak_mib) == (pytest.approx(20), 80, None)
    assert row.images_per_s.mean == pytest.approx((100 + 1000 / 30) / 2)
    assert row.job_s.mean == pytest.approx((0.1 + 0.3) / 2)
    assert len(row.trials) == 2


def test_a_row_has_a_percentile_only_if_every_round_has() -> None:
    """A percentile that one round cannot support is not given for the cell."""
    long, short = lanes([(i, i + 1) for i in range(40)]), lanes([(i, i + 1) for i in range(20)])
    (row,) = rounds.summarize_cells([trial(long), trial(short, round=2)])
    assert row.p50_ms == pytest.approx(1)
    assert row.p90_ms is None


def test_a_row_tells_of_the_round_that_went_wrong() -> None:
    """A cell with one bad round shows that round's status and reason beside the numbers of the good ones."""
    bad = replace(rated("triton x1", 2, None), status="failed", reason="it died")
    (row,) = rounds.summarize_cells([rated("triton x1", 1, 10.0), bad, rated("triton x1", 3, 30.0)])
    assert (row.status, row.reason) == ("failed", "it died")
    assert (row.images_per_s.mean, row.images_per_s.rounds) == (20, 2)


def test_the_fake_server_is_never_compared() -> None:
    """A scripted server's throughput is no rival of a real one's: it stands in no comparison."""
    assert rounds.compare([rated("fake", 1, 100.0), rated("triton x1", 1, 50.0)]) == ()


@pytest.mark.parametrize("changes", [{"status": "degraded"}, {"status": "failed"}])
def test_only_whole_trials_are_compared(changes: dict) -> None:
    """A trial that was cut short moves no ratio, and no mean of a row that has whole ones."""
    whole, cut = rated("triton x1", 1, 100.0), rated("triton x1", 2, 10.0, **changes)
    base = [rated("local", number, 50.0) for number in (1, 2)]
    (comparison,) = rounds.compare([whole, cut, *base])
    assert (comparison.ratio, comparison.rounds) == (pytest.approx(2.0), 1)
    (cell,) = rounds.summarize_cells([whole, cut])
    assert cell.images_per_s == rounds.Interval(mean=100.0, low=None, high=None, rounds=1)


def loaded(label: str, rate: float, workers: int, batch_size: int) -> Any:
    load = {**record()["load"], "workers": workers, "in_flight": workers, "batch_size": batch_size}
    return rated(label, 1, rate, load=load, cell=f"{label}-w{workers}-b{batch_size}")


def test_loads_are_never_mixed_in_a_comparison() -> None:
    """Cells are compared under the same load; TensorFlow in process stands against every load of its batch size."""
    servers = [loaded("triton x1", 10, 1, 8), loaded("triton x1", 30, 4, 8), loaded("triton x1", 7, 4, 1)]
    local = [loaded("local", 5, 1, 8), loaded("local", 7, 1, 1)]
    seen = {(c.batch_size, c.in_flight): c.ratio for c in rounds.compare([*servers, *local])}
    assert seen == {(8, 1): pytest.approx(2), (8, 4): pytest.approx(6), (1, 4): pytest.approx(1)}
    twice = [loaded("triton x2", 20, 1, 8), loaded("triton x2", 15, 4, 8), loaded("triton x2", 1, 2, 8)]
    both = {c.in_flight: c.ratio for c in rounds.compare([*servers[:2], *twice])}
    assert both == {1: pytest.approx(2), 4: pytest.approx(0.5)}
