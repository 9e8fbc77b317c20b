"""Whether a load has settled."""

import numpy as np
import pytest
from helpers import doubt_codes, lanes, sample, trial

from raybench.analysis.steady_state import Pace, is_steady, unsteady
from raybench.results import samples

MS, S = 1_000_000, 1_000_000_000
N = 1500


def judged(taken_ms: np.ndarray, *, seconds: float = 30.0, share: float = 0.1, is_open: bool = False) -> str | None:
    """What is said of requests begun at even distances."""
    begun_ns = np.linspace(0, seconds * S, len(taken_ms), endpoint=False).astype(np.int64)
    return unsteady(begun_ns, (taken_ms * MS).astype(np.int64), seconds=seconds, share=share, is_open=is_open)


def noise(scale: float = 0.2) -> np.ndarray:
    return np.random.default_rng(1).lognormal(0, scale, N)


@pytest.mark.parametrize(
    ("rates", "means", "expected"),
    [
        ([100, 100], [10, 10], False),
        ([100, 105, 110], [10, 10, 10], True),
        ([100, 105, 111], [10, 10, 10], False),
        ([100, 100, 100], [10, 10, 11.1], False),
        ([1, 100, 100, 100], [99, 10, 10, 10], True),
        ([0, 0, 0], [10, 10, 10], False),
    ],
)
def test_steady_is_three_windows_within_ten_percent(rates: list, means: list, *, expected: bool) -> None:
    """The last three windows lie within the share in throughput and in latency, and something was answered."""
    assert is_steady([Pace(*pair) for pair in zip(rates, means, strict=True)], 0.1) is expected


def test_noise_is_steady() -> None:
    """Requests that scatter around one mean are a steady state."""
    assert judged(10 * noise()) is None


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (np.linspace(1, 1.5, N), "latency did not settle"),
        (np.where(np.arange(N) < N // 3, 2.0, 1.0), "latency did not settle"),
        (np.linspace(1, 1.12, N), "latency had a trend"),
    ],
)
def test_what_moves_is_not_steady(shape: np.ndarray, said: str) -> None:
    """Thirds more than 10 % apart, and a drift that is no chance, are told with their numbers."""
    assert said in (judged(10 * shape * noise(0.02)) or "")


def test_throughput_is_judged_in_a_closed_loop_alone() -> None:
    """A closed loop that slows down did not settle; how many requests come in an open one is the schedule's."""
    begun_ns = np.concatenate([np.linspace(0, 10, 800), np.linspace(10, 30, 700)]) * S
    same_ns = np.full(N, 10 * MS)
    assert "throughput" in (unsteady(begun_ns, same_ns, seconds=30, share=0.1, is_open=False) or "")
    assert unsteady(begun_ns, same_ns, seconds=30, share=0.1, is_open=True) is None


def test_queues_of_an_open_loop_come_and_go() -> None:
    """Poisson arrivals make thirds differ by chance; a queue that only grows is a load that is not held."""
    waves = 10 + 5 * np.sin(np.linspace(0, np.pi, N))
    assert judged(waves) is not None
    assert judged(waves, is_open=True) is None
    assert "trend" in (judged(np.linspace(1, 9, N), is_open=True) or "")


@pytest.mark.parametrize(("count", "seconds"), [(N, 14.9), (149, 30.0)])
def test_a_short_trial_is_not_judged(count: int, seconds: float) -> None:
    """Where a third is under 5 s or 50 requests nothing is said: neither steady nor unstable is known."""
    growing = np.linspace(1, 3, count)
    assert judged(growing, seconds=seconds) is None
    assert judged(np.linspace(1, 3, N), seconds=30.0) is not None


def test_the_share_can_be_set() -> None:
    """--stability-percentage widens what counts as steady."""
    assert judged(10 * np.linspace(1, 1.5, N), share=1.0) is None


def short(*parts: tuple[int, float, float]) -> set[str]:
    """What is doubted of the evenness of a closed loop of one lane: so many requests of so many ms, after a pause."""
    spans, at = [], 0.0
    for count, each_ms, pause_ms in parts:
        at += pause_ms
        spans += [(at + i * each_ms, at + (i + 1) * each_ms) for i in range(count)]
        at += count * each_ms
    return doubt_codes(trial(lanes(spans))) & {"stalled", "unsteady", "steadiness_unknown"}


@pytest.mark.parametrize(
    ("parts", "codes"),
    [
        ([(600, 10, 0)], set()),
        ([(300, 10, 0), (300, 10, 3000)], {"stalled", "unsteady"}),  # 3 s in which nothing is sent: a stall of 9
        ([(150, 10, 0), (1, 3000, 0), (149, 10, 0)], {"stalled", "unsteady"}),  # 3 s of 6 in one request
        ([(200, 10, 0), (200, 10, 500)], {"stalled", "unsteady"}),
        ([(300, 10, 0), (300, 12, 0)], {"unsteady"}),
        ([(300, 10, 0), (300, 10.5, 0)], set()),
        ([(40, 10, 0), (1, 400, 0), (40, 10, 0)], {"stalled", "steadiness_unknown"}),
        ([(5, 1000, 0), (5, 1100, 0)], {"steadiness_unknown"}),  # few requests, each a large part of the window
        ([(149, 10, 0)], {"steadiness_unknown"}),
    ],
)
def test_a_short_window_is_judged_or_doubted(parts: list[tuple[int, float, float]], codes: set[str]) -> None:
    """A stall of half a short trial is seen, so is one that slows down, and where there are too few requests to tell, a
    doubt says so."""
    assert short(*parts) == codes


def test_a_stall_in_an_open_loop_is_seen() -> None:
    """Where requests are due throughout, a time without any reply is one in which the server stood still."""

    def done_ms(due_ms: int) -> float:
        return max(due_ms + 5, 4000) if 1000 <= due_ms < 4000 else due_ms + 5

    rows = [sample(due, done_ms(due), due_ms=due, seq=due, lane=due) for due in range(0, 6000, 10)]
    assert "stalled" in doubt_codes(trial(samples.table(rows)))
    calm = [sample(due, due + 5, due_ms=due, seq=due, lane=due) for due in range(0, 6000, 10)]
    assert not doubt_codes(trial(samples.table(calm))) & {"stalled", "unsteady", "steadiness_unknown"}
