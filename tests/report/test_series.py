"""What was observed -> what a chart draws: no request is lost on the way."""

import numpy as np
import pytest
from helpers import MS, OPEN, lanes, observed, sample, telemetry, trial
from queue_simulation import served
from record_builders import load, worker_facts

from raybench.analysis.latency import PERCENTILES
from raybench.report.html.series import Timeline, distribution, tail, trial_series
from raybench.results import samples
from raybench.results.results_folder import ObservedTrial


def timeline(trial: ObservedTrial) -> Timeline | None:
    return trial_series(trial).timeline


def latencies_ms(trial: ObservedTrial) -> np.ndarray:
    return trial_series(trial).latencies_ms


def lane(count: int, each_ms: float = 10, start_ms: float = 0) -> list[tuple[float, float]]:
    return [(start_ms + i * each_ms, start_ms + (i + 1) * each_ms) for i in range(count)]


def warmed_up(**changes: object) -> ObservedTrial:
    """40 requests of 30 ms to warm up, a wait of 2 s at the gate, then 400 of 10 ms."""
    warm = lanes(lane(40, 30, -3200), phase=samples.WARMUP, items=2)
    return observed(samples.merge([warm, lanes(lane(400), items=2)]), **changes)


def test_curves_run_through_the_percentiles_of_the_summary() -> None:
    """A percentile that a chart shows is the one that summary.json has: exact, nearest rank."""
    times = np.random.default_rng(0).lognormal(2, 1, 4000)
    rows = lanes([(i * 1000, i * 1000 + ms) for i, ms in enumerate(times)])
    ordered, shown = latencies_ms(observed(rows)), trial(rows).service_ms
    assert shown is not None
    for name, p in PERCENTILES.items():
        curve = tail(ordered)
        nearest = curve.ms[np.argmin(np.abs(curve.share - p))]
        assert nearest == pytest.approx(getattr(shown, name), rel=0.05)
        assert set(curve.ms) <= set(ordered)
    assert (distribution(ordered).ms[0], distribution(ordered).ms[-1]) == (ordered[0], ordered[-1])


@pytest.mark.parametrize(("count", "last"), [(5, None), (40, 0.9), (368, 0.99), (4000, 0.999)])
def test_a_tail_ends_where_the_sample_ends(count: int, last: float | None) -> None:
    """No percentile is drawn that the summary would not print."""
    shares = tail(np.arange(1.0, count + 1)).share
    supported = [p for p in PERCENTILES.values() if p <= shares[-1] + 1e-9]
    assert (supported[-1] if supported else None) == last


def test_a_timeline_begins_with_the_warm_up() -> None:
    """0 is where the window begins, warm-up lies before it, and the wait at the gate between them is cut out."""
    line = timeline(warmed_up())
    assert line is not None
    assert line.at_s[0] == pytest.approx(-1.2, abs=0.1)
    assert line.at_s[-1] == pytest.approx(4.0, abs=0.1)
    before, after = line.at_s < 0, line.at_s > 0
    assert np.nanmax(np.abs(line.median_ms[before] - 30)) < 1e-6
    assert np.nanmax(np.abs(line.median_ms[after] - 10)) < 1e-6
    assert line.inferences_per_s[after] == pytest.approx(200)


@pytest.mark.parametrize("count", [3, 50, 5000])
def test_no_image_and_no_outlier_is_lost(count: int) -> None:
    """However many requests a bin holds, the images of all bins are those that were answered, and the band has the
    slowest request and the fastest."""
    rows = samples.table([sample(i * 2, i * 2 + (1.9 if i != count // 2 else 1.99), seq=i) for i in range(count)])
    line = timeline(observed(rows))
    assert line is not None
    width = line.at_s[1] - line.at_s[0] if len(line.at_s) > 1 else 2 * line.at_s[0]
    assert line.inferences_per_s.sum() * width == pytest.approx(count, rel=0.01)
    assert (np.nanmin(line.fastest_ms), np.nanmax(line.slowest_ms)) == pytest.approx((1.9, 1.99))


def test_the_curve_of_an_overload_has_no_more_than_was_served() -> None:
    """A server of 200 a second that gets 300 has 200 in every part of its curve, however long requests wait."""
    rows = served(np.full(900, 0.005), at_once=1, lanes=64, due_s=np.arange(900) / 300)
    line = timeline(observed(rows, load=load(**OPEN)))
    assert line is not None
    assert line.inferences_per_s == pytest.approx(200, rel=0.03)


def test_failed_requests_are_marked_where_they_were() -> None:
    """A failure has no latency and gives no image, and its time is marked."""
    rows = samples.table(
        [sample(i * 10, i * 10 + 10, seq=i, status="OK" if i != 300 else "INTERNAL") for i in range(400)]
    )
    line = timeline(observed(rows))
    assert line is not None
    assert line.failed_s == pytest.approx([3.0], abs=0.1)


def test_an_open_loop_shows_response_by_due_time() -> None:
    """Who waits for a late lane has waited in the chart too."""
    rows = samples.table([sample(i * 10 + 4, i * 10 + 9, due_ms=i * 10, seq=i) for i in range(400)])
    line = timeline(observed(rows, load=load(**OPEN)))
    assert line is not None
    assert np.nanmedian(line.median_ms) == pytest.approx(9)
    assert latencies_ms(observed(rows, load=load(**OPEN)))[0] == pytest.approx(9)


def test_workers_are_on_one_clock() -> None:
    """Samples of a host whose clock is ahead lie where they were."""
    ahead_ns = 60_000 * MS
    late = [s._replace(worker=1, sent_ns=s.sent_ns + ahead_ns, done_ns=s.done_ns + ahead_ns)
            for s in (sample(i * 10, i * 10 + 10, seq=i) for i in range(100))]  # fmt: skip
    workers = [worker_facts(), worker_facts(1, clock_offset_ns=ahead_ns)]
    asked = load(workers=2, in_flight=2)
    rows = samples.merge([lanes(lane(100)), samples.table(late)])
    line = timeline(observed(rows, workers=workers, load=asked))
    assert line is not None
    assert line.at_s[-1] < 1.1


def test_memory_is_that_of_the_summary() -> None:
    """RSS over time is the server's, as in the table, and each GPU has a line; a reading before the load is not in."""
    memory = telemetry(
        *({"kind": "process", "id": "7", "time_ns": t * MS, "rss_mib": 100.0 + t} for t in (-500, 0, 500, 1000)),
        *({"kind": "gpu", "id": uuid, "time_ns": 100 * MS, "gpu_used_mib": 20.0} for uuid in "ab"),
        {"kind": "process", "id": "7", "time_ns": 200 * MS},
    )
    line = timeline(observed(lanes(lane(200)), memory))
    assert line is not None
    assert set(line.memory) == {"RSS", "GPU", "GPU 1"}
    assert list(line.memory["RSS"][0]) == pytest.approx([-0.01, 0.49, 0.99])  # the first reply was after 10 ms
    assert list(line.memory["RSS"][1]) == [100, 600, 1100]


def test_what_sent_nothing_has_no_timeline() -> None:
    """A trial without a request is no line; one without a window is drawn whole."""
    assert timeline(observed(samples.merge([]), status="skipped", reason="x", workers=())) is None
    alone = observed(lanes(lane(20)), load=load(in_flight=2))
    assert len(latencies_ms(alone)) == 0
    assert timeline(alone) is not None
