"""Replicas and costs for a rate, against computation by hand."""

from dataclasses import fields, replace
from typing import Any

import pytest
from helpers import rated, summary, trial
from record_builders import load, server_facts

from raybench.analysis.replica_rate import ReplicaRate
from raybench.analysis.sizing import Sizing, replicas_for, sizings
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary
from raybench.analysis.tuning.result import TriedConfiguration, TuningResult
from raybench.config.demand import INFERENCES, Demand, Price, demand, price


def run_of(*trials: TrialSummary) -> Summary:
    """The summary of a run with these trials."""
    return replace(summary(), trials=trials)


def five_rounds(mean_rps: float, batch_size: int = 1, **changes: Any) -> list[TrialSummary]:
    """A closed loop whose five rounds lie 1 % and 2 % around a mean: their deviation is 1.58114 % of it."""
    found = []
    for number, share in enumerate((0.98, 0.99, 1.0, 1.01, 1.02), 1):
        each = rated("triton x1", number, mean_rps * share, load=load(batch_size=batch_size), **changes)
        assert each.throughput
        items = each.throughput.requests_per_s * batch_size
        found.append(replace(each, throughput=replace(each.throughput, inferences_per_s=items)))
    return found


def sized(wanted: Demand, mean_rps: float = 100.0, batch_size: int = 1) -> Sizing:
    (found,) = sizings(run_of(*five_rounds(mean_rps, batch_size)), wanted)
    return found


# The interval of five_rounds(100) is 100 ± 2.77645 x 1.58114 / sqrt(5) = 100 ± 1.96324: 98.0368 to 101.9632.
LOW, HIGH = 98.0368, 101.9632


def test_the_rate_of_a_replica_is_the_interval_over_rounds() -> None:
    """In a closed loop a replica holds the low end of Student's interval of its throughput, and not the mean."""
    found = sized(demand(request_rate=500))
    assert (found.rate.low_rps, found.rate.high_rps) == pytest.approx((LOW, HIGH), rel=1e-5)
    assert found.rate.source == "closed loop, 1 in flight, 5 rounds"


@pytest.mark.parametrize(
    ("asked", "batch_size", "replicas", "replicas_low"),
    [
        ({"request_rate": 500}, 1, 7, 7),  # 650 / 98.04 = 6.63; 650 / 101.96 = 6.37
        ({"request_rate": 500, "headroom": "0%"}, 1, 6, 5),  # 5.10; 4.90
        ({"request_rate": 500, "headroom": "0%", "spare": 2}, 1, 8, 7),
        ({"request_rate": 500, "headroom": "100%", "spare": 1}, 1, 12, 11),  # 10.2 + 1; 9.81 + 1
        ({"request_rate": 500}, 8, 7, 7),
        ({"request_rate": None, "inference_rate": 500}, 8, 1, 1),  # 62.5 requests/s: 0.83
        ({"request_rate": None, "inference_rate": 4000, "headroom": "25%"}, 8, 7, 7),  # 625 / 98.04 = 6.37; 6.13
        ({"request_rate": 0.001}, 1, 1, 1),
        ({"request_rate": 1_000_000, "headroom": "0"}, 1, 10201, 9808),
    ],
)
def test_replicas_are_those_by_hand(asked: dict[str, Any], batch_size: int, replicas: int, replicas_low: int) -> None:
    """ceil(rate x (1 + headroom) / what a replica holds) + spare, of requests or of items, from either end."""
    found = sized(demand(**asked), batch_size=batch_size)
    assert (found.replicas, found.replicas_low) == (replicas, replicas_low)


@pytest.mark.parametrize(
    ("rate", "low", "headroom", "expected"), [(50, 5.5, 0.1, 10), (700, 11, 0.1, 70), (3.1, 1, 0, 4)]
)
def test_rounding_adds_no_replica(rate: float, low: float, headroom: float, expected: int) -> None:
    """50 x 1.1 / 5.5 is ten replicas, though floating point makes it a little more."""
    assert replicas_for(rate, low, Demand(rate=rate, headroom=headroom)) == expected


@pytest.mark.parametrize(
    ("asked", "batch_size", "text", "month", "million"),
    [
        # 7 x 2.5 x 730; 7 x 2.5 / (500 x 3600) x 1e6
        ({"request_rate": 500}, 1, "2.50/h", 12_775, 9.7222),
        # 8 items a request: a million inferences are 125,000 requests
        ({"request_rate": 500}, 8, "2.50/h", 12_775, 1.21528),
        ({"request_rate": 500, "spare": 1}, 1, "1825/month", 14_600, 11.1111),
        ({"request_rate": None, "inference_rate": 4000, "headroom": "25%"}, 8, "48/day", 10_220, 0.972222),
    ],
)
def test_costs_are_those_by_hand(
    asked: dict[str, Any], batch_size: int, text: str, month: float, million: float
) -> None:
    """A month is 730 h of all replicas; a million inferences take as long as the asked rate has them."""
    found = sized(replace(demand(**asked), price=price(text)), batch_size=batch_size)
    assert found.cost
    assert found.cost.per_month.cost == pytest.approx(month, rel=1e-4)
    assert found.cost.per_million_inferences.cost == pytest.approx(million, rel=1e-4)


def test_a_cost_has_the_interval_of_the_rate() -> None:
    """The other end of a cost is that of the replicas by the upper end of the rate."""
    wanted = replace(demand(request_rate=500, headroom="0%"), price=Price(per_hour=1.0, currency="$"))
    cost = sized(wanted).cost
    assert cost
    assert (cost.per_month.low, cost.per_month.cost, cost.currency) == (5 * 730, 6 * 730, "$")
    assert sized(demand(request_rate=500)).cost is None


def one_round() -> list[TrialSummary]:
    return five_rounds(100)[:1]


def failing() -> list[TrialSummary]:
    return [replace(each, requests=replace(each.requests, failed=3, attempted=9)) for each in five_rounds(100)]


def scattered() -> list[TrialSummary]:
    return [rated("triton x1", 1, 10.0), rated("triton x1", 2, 100.0)]


def dead() -> list[TrialSummary]:
    return [replace(trial(), status="failed", reason="the server stopped\nits last lines", throughput=None)]


def several() -> list[TrialSummary]:
    return five_rounds(100, server=server_facts("triton", url="a:1,b:2"))


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        (one_round, "one round has no interval: measure with --rounds 5"),
        (failing, "3 of 9 requests failed"),
        (scattered, "the interval over 2 rounds reaches 0: measure with --rounds 5 or more"),
        (dead, "the trial is failed: the server stopped"),
        (several, "its url names 2 servers: size from results of one of them"),
    ],
)
def test_without_evidence_there_is_no_number(trials: Any, why: str) -> None:
    """What does not show a rate gives null for replicas, costs and energy, with the reason."""
    wanted = replace(demand(request_rate=500), price=Price(per_hour=1.0, currency=""))
    (found,) = sizings(run_of(*trials()), wanted)
    unknown = (found.rate.low_rps, found.rate.high_rps, found.replicas, found.replicas_low, found.cost)
    assert unknown == (None,) * 5
    assert found.joules_per_inference is None
    assert found.rate.reason == why


def test_a_closed_loop_says_nothing_about_a_latency_at_a_rate() -> None:
    """With a latency to keep, a closed loop is no evidence, and the sentence says what would be."""
    rate = sized(demand(request_rate=500, latency_threshold="p99<200ms")).rate
    assert rate.low_rps is None
    assert "--request-rate" in str(rate.reason)
    assert "raybench search" in str(rate.reason)


def test_the_load_with_the_best_bound_counts() -> None:
    """Of several closed loops of one server and batch size that with the highest low end is taken."""
    wide = [replace(each, cell="wide", load=load(in_flight=8)) for each in five_rounds(200)]
    (found,) = sizings(run_of(*five_rounds(100), *wide), demand(request_rate=500))
    assert found.rate.low_rps == pytest.approx(2 * LOW, rel=1e-5)
    assert "8 in flight" in found.rate.source


def test_each_server_model_and_batch_size_is_sized() -> None:
    """Rows that serve other requests are never put together."""
    others = [*five_rounds(100), *five_rounds(50, batch_size=8), *(rated("local", n, 10.0 + n) for n in (1, 2, 3))]
    found = sizings(run_of(*others), demand(request_rate=500))
    assert [(each.server, each.batch_size) for each in found] == [("triton x1", 1), ("triton x1", 8), ("local", 1)]


def test_energy_is_power_over_throughput() -> None:
    """Joules per inference are the GPUs' mean power over the rate, over the rounds that show the rate; else null."""
    base = five_rounds(100)
    known = [_with_power(each, 300.0) for each in base]
    (found,) = sizings(run_of(*known), demand(request_rate=500))
    assert found.joules_per_inference
    assert found.joules_per_inference.mean == pytest.approx(3.0, rel=1e-3)
    (unknown,) = sizings(run_of(*(_with_power(each, None) for each in base)), demand(request_rate=500))
    assert unknown.joules_per_inference is None


def _with_power(each: TrialSummary, power_w: float | None) -> TrialSummary:
    assert each.telemetry
    return replace(each, telemetry=replace(each.telemetry, gpu_power_w=power_w))


def test_a_sizing_says_what_it_was_asked() -> None:
    """The demand and the rate in requests/s are beside the answer."""
    found = sized(demand(request_rate=None, inference_rate=400), batch_size=8)
    assert (found.request_rate, found.demand.unit, found.demand.rate) == (50, INFERENCES, 400)
    assert isinstance(found.rate, ReplicaRate)


def with_nulls(kind: type[Any], **known: Any) -> Any:
    """A record in which what is not given is None."""
    return kind(**{**dict.fromkeys(each.name for each in fields(kind)), **known})


def tuned(*rounds: int, is_open: bool = False) -> Summary:
    """A tuning whose best configuration and default were measured in these rounds, better in the first ones."""
    names = ("triton x1", "triton x2", "local")
    tried = [with_nulls(TriedConfiguration, name=name, server=name, model="resnet50-no-opt") for name in names]
    found = with_nulls(
        TuningResult,
        threshold="p99<100ms" if is_open else None,
        default="local",
        winner="triton x1",
        tried=tuple(tried),
    )
    trials = [rated(name, n, 100.0 + n % 10 + (90.0 if n < 100 else 0)) for name in names for n in rounds]
    return replace(summary(), trials=tuple(trials), tuning=found)


def test_a_tuning_is_sized_by_its_fresh_rounds() -> None:
    """The best of a tuning and its default are sized by the rounds that chose neither; what they had before is luck."""
    best, default = sizings(tuned(1, 2, 3, 101, 102, 103), demand(request_rate=500))
    assert (best.server, default.server) == ("triton x1", "local")
    assert (best.rate.low_rps, best.rate.high_rps) == pytest.approx((102 - 2.48414, 102 + 2.48414), rel=1e-5)
    assert best.replicas == default.replicas == 7  # 650 / 99.5 = 6.53


def test_a_tuning_without_fresh_rounds_sizes_nothing() -> None:
    """Before the fresh rounds there is no rate that luck did not choose."""
    best, _ = sizings(tuned(1, 2, 3), demand(request_rate=500))
    assert best.replicas is None
    assert str(best.rate.reason).startswith("the tuning did not measure it in fresh rounds")


def test_a_tuning_has_its_own_limit() -> None:
    """Rounds of a tuning for a latency are judged by it, without being asked for it again."""
    best, _ = sizings(tuned(101, 102, is_open=True), demand(request_rate=500))
    assert "p99<100ms" in str(best.rate.reason)
