"""What a deployment must serve, as users write it."""

from typing import Any

import pytest

from raybench.config import ConfigError
from raybench.config.demand import INFERENCES, REQUESTS, Price, demand, price


@pytest.mark.parametrize(
    ("text", "per_hour", "currency"),
    [
        ("2.50/h", 2.5, ""),
        ("$2.50/h", 2.5, "$"),
        ("48 EUR/day", 2.0, "EUR"),
        ("EUR 48/day", 2.0, "EUR"),
        ("€1825/month", 2.5, "€"),
        (" .5 / h ", 0.5, ""),
    ],
)
def test_a_price_is_read(text: str, per_hour: float, currency: str) -> None:
    """A price is per hour, day of 24 h or month of 730 h, and its currency is kept as it was written."""
    assert price(text) == Price(per_hour=pytest.approx(per_hour), currency=currency)


@pytest.mark.parametrize("text", ["", "x", "2.50", "2.50/year", "0/h", "-1/h", "$2 EUR/h", "1,800/month", "nan/h"])
def test_a_wrong_price_is_refused(text: str) -> None:
    """What is no price above 0 per hour, day or month is refused with the text and an example."""
    with pytest.raises(ConfigError) as refusal:
        price(text)
    assert str(refusal.value).startswith("price is ")
    assert "2.50/h" in str(refusal.value)


def test_a_rate_is_of_requests_or_of_inferences() -> None:
    """Either rate is converted by the items of a request."""
    requests, inferences = demand(request_rate=500), demand(request_rate=None, inference_rate=500)
    assert (requests.unit, requests.rps(8), requests.inferences_per_s(8)) == (REQUESTS, 500, 4000)
    assert (inferences.unit, inferences.rps(8), inferences.inferences_per_s(8)) == (INFERENCES, 62.5, 500)


@pytest.mark.parametrize(("text", "share"), [("30%", 0.3), ("0", 0), ("0.3", 0.3), ("150%", 1.5), ("2.5%", 0.025)])
def test_headroom_is_a_share(text: str, share: float) -> None:
    """Headroom is a share, with or without a percent sign."""
    assert demand(request_rate=1, headroom=text).headroom == pytest.approx(share)


@pytest.mark.parametrize(
    ("asked", "start"),
    [
        ({"request_rate": 0}, "request-rate is 0;"),
        ({"request_rate": float("nan")}, "request-rate is nan;"),
        ({"request_rate": None, "inference_rate": -1}, "inference-rate is -1;"),
        ({"request_rate": None}, "give one rate"),
        ({"request_rate": 1, "inference_rate": 1}, "give one rate"),
        ({"request_rate": 1, "headroom": "-5%"}, "headroom is -5%;"),
        ({"request_rate": 1, "headroom": "30"}, "headroom is 30;"),
        ({"request_rate": 1, "spare": -1}, "spare is -1;"),
        ({"request_rate": 1, "latency_threshold": "p99>1ms"}, "latency-threshold is p99>1ms;"),
        ({"request_rate": 1, "latency_threshold": "mean<1ms"}, "latency-threshold is mean<1ms;"),
    ],
)
def test_a_wrong_demand_is_refused(asked: dict[str, Any], start: str) -> None:
    """A demand that cannot be is refused in a sentence that begins with field and value."""
    with pytest.raises(ConfigError) as refusal:
        demand(**asked)
    assert str(refusal.value).startswith(start)
