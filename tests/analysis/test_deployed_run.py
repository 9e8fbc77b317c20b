"""The run.yaml that a tuning leaves: it measures what the tuning found, as the tuning measured it."""

from pathlib import Path

import pytest
from helpers import trial
from record_builders import load

from raybench import config
from raybench.analysis.search.strategy import RATE
from raybench.analysis.tuning.deployed_run import deployed_run, held_rps
from raybench.analysis.tuning.halving import Configuration, configurations
from raybench.analysis.tuning.result import Measurement
from raybench.config import Benchmark
from raybench.config.search_goal import LATENCY, Goal
from raybench.results import results_folder

GOAL = Goal(kind=LATENCY, variable=RATE, steps=(), percentile="p99", limit_ms=200.0, is_adaptive=True)


@pytest.fixture
def tuned() -> Benchmark:
    return config.load(None, {"server": ("triton",), "instances": (1, 2), "workers": 2, "calibrate": False})


@pytest.fixture
def best(tuned: Benchmark) -> Configuration:
    return configurations(tuned)[1]


def searched(rps: float | None) -> Measurement:
    """What a search measured: the trial at the rate that held, and a value above it."""
    paced = trial(load=load(arrivals="poisson", offered_rps=rps, concurrency=None))
    return Measurement(None if rps is None else 1.02 * rps, (paced,))


def test_a_latency_tuning_leaves_an_open_loop_at_the_rate_that_held(
    tuned: Benchmark, best: Configuration, tmp_path: Path
) -> None:
    """run.yaml offers the rate that held in every fresh round, for as long as a search does, within the same limit."""
    measured = {1: searched(30.0), 101: searched(50.0), 102: searched(48.0), 103: searched(52.0)}
    results_folder.write_benchmark(tmp_path / "run.yaml", deployed_run(tuned, best, GOAL, measured))
    found = config.load(tmp_path / "run.yaml", {})
    (its,) = found.loads
    assert (its.request_rate, its.concurrency, its.request_count, its.workers) == ((48.0,), None, None, 2)
    assert its.duration == 32  # 1500 requests, as a step of a search
    assert found.threshold == ("p99<200ms",)
    assert (found.rounds, [server.label for server in found.servers]) == (5, ["triton x2"])


def test_a_throughput_tuning_leaves_its_closed_loop(tuned: Benchmark, best: Configuration) -> None:
    """Where throughput was compared, run.yaml measures throughput under the load of the tuning."""
    found = deployed_run(tuned, best, None, {1: Measurement(100.0, (trial(),)), 101: Measurement(99.0, (trial(),))})
    (its,), (asked,) = found.loads, tuned.loads
    assert (its.request_rate, its.concurrency, its.workers) == ((), asked.concurrency, 2)
    assert found.threshold == ()


def test_a_rate_is_of_the_fresh_rounds() -> None:
    """Rounds that chose the configuration say nothing where there are fresh ones; a round without a number neither."""
    assert held_rps({1: searched(30.0), 101: searched(50.0)}) == 50
    assert held_rps({1: searched(30.0), 2: searched(28.0), 3: searched(None)}) == 28
    assert held_rps({1: searched(None)}) is None
