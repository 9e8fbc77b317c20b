"""Thresholds -> which rows of the table meet them."""

from dataclasses import fields
from typing import Any

import pytest
from helpers import lanes, observed, sample, summary

from raybench import config
from raybench.analysis.latency import Latency
from raybench.analysis.requests_needed import check_supported
from raybench.config import ConfigError
from raybench.config.threshold import LATENCIES
from raybench.config.validation import validated
from raybench.report.text import markdown
from raybench.results import samples
from raybench.results.results_folder import ObservedTrial

STEADY = [(i * 10, i * 10 + 10) for i in range(400)]


def is_met(*texts: str, trials: tuple[ObservedTrial, ...] | None = None) -> list[bool | None]:
    return [each.is_met for each in summary(*(trials or [observed(lanes(STEADY))]), threshold=texts).thresholds]


def skipped(**changes: Any) -> ObservedTrial:
    return observed(samples.merge([]), status="skipped", reason="none here", workers=(), **changes)


def test_every_latency_of_a_summary_can_have_a_threshold() -> None:
    """Whatever latency stands in summary.json may be a threshold, by the same name."""
    assert set(LATENCIES) == {field.name for field in fields(Latency)} - {"n", "bounds"}


@pytest.mark.parametrize(
    ("text", "metric", "limit"),
    [
        ("p(99)<50ms", "p99", 50),
        ("p99 < 0.5 s", "p99", 500),
        ("p(99.9)<=1s", "p99_9", 1000),
        ("mean<2.5ms", "mean", 2.5),
        ("error_rate<1%", "error_rate", 0.01),
        ("error_rate<=0.01", "error_rate", 0.01),
        ("throughput>100", "throughput", 100),
        ("throughput>=100/s", "throughput", 100),
        ("memory<2GiB", "memory", 2048),
    ],
)
def test_a_threshold_is_read(text: str, metric: str, limit: float) -> None:
    """A threshold is a metric, a comparison and a limit in the unit that it says."""
    found = config.threshold(text)
    assert found is not None
    assert (found.metric, found.limit) == (metric, pytest.approx(limit))


@pytest.mark.parametrize(
    "text", ["", "p99", "p99<50", "p98<50ms", "p(99<50ms", "error_rate<1ms", "p99<ms", "x<1", "p99=1ms"]
)
def test_what_is_none_is_refused_before_a_run(text: str) -> None:
    """A threshold that says nothing ends the command with one sentence, before any server starts."""
    with pytest.raises(config.ConfigError, match=r"threshold is .*; write one like p50<50ms"):
        config.load(None, {"threshold": (text,)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p(99)<11ms", True),
        ("p(99)<10ms", False),
        ("p(99)<=10ms", True),
        ("throughput>99", True),
        ("throughput>101", False),
        ("error_rate<1%", True),
        ("p(99.9)<1s", None),
        ("memory<1GiB", None),
    ],
)
def test_a_row_meets_it_or_misses_it(text: str, expected: bool) -> None:
    """A row of 400 requests of 10 ms, without memory: what is not known, or not supported, meets no threshold."""
    assert is_met(text) == [expected]


def test_failed_requests_count_over_all_rounds() -> None:
    """The error rate of a row is that of all its requests."""
    bad = samples.table([sample(i, i + 1, seq=i, status="OK" if i else "INTERNAL") for i in range(10)])
    rounds = (observed(bad), observed(lanes([(i, i + 1) for i in range(10)]), round=2))
    assert is_met("error_rate<5%", "error_rate<=5%", trials=rounds) == [False, True]


def test_what_could_not_be_judged_is_said() -> None:
    """Each threshold is checked on each row, and its line names the load and why there is no value to judge."""
    failed = observed(samples.merge([]), label="fake", status="failed", reason="it ended", workers=())
    shown = summary(observed(lanes(STEADY), label="local"), skipped(), failed, threshold=("p50<1s",))
    assert {each.label: each.is_met for each in shown.thresholds} == {"local": True, "triton x1": None, "fake": None}
    text = markdown(shown)
    assert "threshold p50<1s: local, resnet50-no-opt, 1 in flight, batch 1: 10, met" in text
    assert "fake, resnet50-no-opt, 1 in flight, batch 1: could not be judged: failed" in text
    assert "triton x1, resnet50-no-opt, 1 in flight, batch 1: could not be judged: skipped" in text


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        ({"threshold": ("p(50)<1s",)}, None),
        (
            {"threshold": ("p(99)<1s",), "request_count": 100},
            "needs 376 requests per trial, and .* has 100: use --request-count 376",
        ),
        ({"threshold": ("p(99)<1s",), "request_count": 376}, None),
        (
            {"threshold": ("mean<1s", "p(95)<1s"), "workers": 4, "concurrency": 8, "request_count": 120},
            "needs 136 requests",
        ),
        ({"threshold": ("p(99)<1s",), "duration": 5.0}, None),
        ({"threshold": ("p(99)<1s",), "duration": 5.0, "request_rate": (20.0, 100.0)}, "has 100: use --duration 22"),
        ({"threshold": ("p(99)<1s",), "duration": 5.0, "request_rate": (100.0,)}, None),
        ({"threshold": ("error_rate<1%", "throughput>5", "memory<1GiB", "max<1s")}, None),
    ],
)
def test_a_threshold_beyond_the_requests_is_refused(settings: dict[str, Any], needs: str | None) -> None:
    """A percentile that a trial's requests cannot support is refused before the start, with the count that it needs."""
    benchmark = validated({"server": ["fake"], **settings})
    if needs is None:
        check_supported(benchmark)
        return
    with pytest.raises(ConfigError, match=needs):
        check_supported(benchmark)
