"""Due times of an open loop."""

import numpy as np
import pytest

from raybench.worker.schedule import due_times_ns, share_ns

S = 1_000_000_000


def due_s(
    distribution: str, rate_rps: float, *, count: int | None = None, duration_s: float | None = None, seed=(0, 1)
):
    return due_times_ns(distribution, rate_rps, count=count, duration_s=duration_s, seed=seed) / S


def test_constant_gaps_are_one_over_the_rate() -> None:
    """Constant arrivals come every 1/rate from the start on, without drift."""
    assert due_times_ns("constant", 3, count=10, duration_s=None, seed=(0,)).tolist() == [
        round(i * S / 3) for i in range(10)
    ]


@pytest.mark.parametrize(("rate_rps", "duration_s", "expected"), [(10, 1.0, 10), (10, 1.05, 11), (0.5, 1.0, 1)])
def test_within_a_duration_as_many_are_due_as_fit(rate_rps: float, duration_s: float, expected: int) -> None:
    """With --duration the schedule ends where it does: nothing is due at its end or later."""
    times_s = due_s("constant", rate_rps, duration_s=duration_s)
    assert len(times_s) == expected
    assert times_s.max() < duration_s


@pytest.mark.parametrize("length", [{"count": 20_000}, {"duration_s": 100.0}])
def test_poisson_arrivals_are_poisson(length: dict) -> None:
    """Gaps have the mean 1/rate and an exponential's spread, and counts of a second the variance of a Poisson's."""
    times_s = due_s("poisson", 200, **length)
    gaps_s, per_s = np.diff(times_s), np.bincount(times_s.astype(int))[:-1]
    assert (gaps_s >= 0).all()
    assert gaps_s.mean() == pytest.approx(1 / 200, rel=0.03)
    assert gaps_s.std() == pytest.approx(gaps_s.mean(), rel=0.05)
    assert np.exp(-1) == pytest.approx((gaps_s > 1 / 200).mean(), rel=0.05)  # no memory: half-lives, not a fixed gap
    assert per_s.var() == pytest.approx(200, rel=0.5)


@pytest.mark.parametrize("distribution", ["constant", "poisson"])
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_workers_keep_one_schedule_together(distribution: str, workers: int) -> None:
    """However many workers send, all of them together send what one would: at the asked rate, and each time once."""
    whole = due_times_ns(distribution, 50, count=1000, duration_s=None, seed=(7,))
    shares = [share_ns(whole, worker=worker, workers=workers) for worker in range(workers)]
    assert sorted(np.concatenate(shares).tolist()) == whole.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("length", [{"count": 100}, {"duration_s": 2.0}])
def test_a_seed_is_a_schedule(length: dict) -> None:
    """The same seed gives the same schedule, so that every server meets the same arrivals; another round another."""
    assert (due_s("poisson", 50, **length) == due_s("poisson", 50, **length)).all()
    other = due_s("poisson", 50, **length, seed=(0, 2))
    assert due_s("poisson", 50, **length)[:20].tolist() != other[:20].tolist()
