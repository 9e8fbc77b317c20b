"""What each of several mixed models took."""

import pyarrow as pa
from helpers import OPEN, lanes, observed, sample, summary, trial
from record_builders import load

from raybench.report.text import markdown
from raybench.results import samples

FAST_MS, SLOW_MS = 2, 10


def mixed() -> pa.Table:
    """A lane whose requests go to a fast and to a slow model in turn; every fifth to the slow one fails."""
    rows, at = [], 0
    for seq in range(200):
        ms = SLOW_MS if seq % 2 else FAST_MS
        failed = {"status": "UNAVAILABLE", "error": "x"} if seq % 10 == 9 else {}
        rows.append(sample(at, at + ms, seq=seq, payload=seq % 6, **failed))
        at += ms
    return samples.table(rows)


def test_each_model_of_a_mix_has_its_latency() -> None:
    """Each model of a mix has percentiles and failures of its own, counted from the requests that went to it."""
    fast, slow = trial(mixed(), mixed=("fast", "slow")).by_model
    assert (fast.model, slow.model) == ("fast", "slow")
    assert fast.latency_ms
    assert slow.latency_ms
    assert (fast.latency_ms.p50, fast.latency_ms.max) == (FAST_MS, FAST_MS)
    assert (slow.latency_ms.p50, slow.latency_ms.mean) == (SLOW_MS, SLOW_MS)
    assert (fast.requests.failed, slow.requests.failed) == (0, 20)
    assert fast.requests.attempted + slow.requests.attempted == 200


def test_an_open_loop_has_the_response_of_each_model() -> None:
    """In an open loop what a model took runs from the due time, as in the table."""
    rows = [sample(i * 10 + 3, i * 10 + 5 + i % 2, due_ms=i * 10, seq=i, payload=i % 2) for i in range(200)]
    first, second = trial(samples.table(rows), load=load(**OPEN), mixed=("a", "b")).by_model
    assert first.latency_ms
    assert second.latency_ms
    assert (first.latency_ms.p50, second.latency_ms.p50) == (5, 6)


def test_one_model_alone_is_not_broken_down() -> None:
    """Where all requests went to one model, the trial's own latency is that model's."""
    assert trial(lanes([(0, 1), (1, 2)])).by_model == ()


def test_the_report_has_a_row_for_each_model() -> None:
    """A mix has a table by model in the report: percentiles, and how many requests went well and failed."""
    rounds = [observed(mixed(), mixed=("fast", "slow"), round=number) for number in (1, 2)]
    text = markdown(summary(*rounds), is_detailed=True)
    assert "**latency by model**" in text
    assert "| triton x1 | fast | 2 | 2 | – | 200 | 0 |" in text
    assert "latency by model" not in markdown(summary(observed()), is_detailed=True)
