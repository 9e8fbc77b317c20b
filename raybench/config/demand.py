"""What a deployment must serve: a rate with its headroom, the latency to keep, and the price of a replica."""

import re
from dataclasses import dataclass
from math import isfinite

from raybench.config.refusal import ConfigError, require
from raybench.config.threshold import Threshold, threshold

REQUESTS, INFERENCES = "requests", "inferences"
HOURS_PER_MONTH = 730.0
_HOURS = {"h": 1.0, "day": 24.0, "month": HOURS_PER_MONTH}
_LATENCIES = ("p50", "p90", "p95", "p99", "p99_9")
_PRICE = re.compile(r"([^\d.\s/+-]{0,3})\s*(\d+(?:\.\d+)?|\.\d+)\s*([^\d.\s/+-]{0,3})\s*/\s*(h|day|month)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)(%?)")
_MOST = 1e12


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one replica (a host or a GPU) costs an hour; `currency` is as the user wrote it, and may be empty."""

    per_hour: float
    currency: str


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is asked: `rate` a second of `unit`, requests or inferences; `headroom` as a share; replicas to `spare`.

    `limit` is the latency that must hold, where the results are not of a search that had one.
    """

    rate: float
    unit: str = REQUESTS
    headroom: float = 0.3
    spare: int = 0
    price: Price | None = None
    limit: Threshold | None = None

    def rps(self, batch_size: int) -> float:
        """The asked rate in requests/s, of requests of so many items."""
        return self.rate / batch_size if self.unit == INFERENCES else self.rate

    def inferences_per_s(self, batch_size: int) -> float:
        """The asked rate in items a second, for requests of so many items."""
        return self.rate if self.unit == INFERENCES else self.rate * batch_size


def demand(
    *,
    request_rate: float | None,
    inference_rate: float | None = None,
    headroom: str = "30%",
    spare: int = 0,
    latency_threshold: str | None = None,
) -> Demand:
    """A demand from what the user wrote; raises ConfigError. Its price is added for each results folder."""
    given = {REQUESTS: request_rate, INFERENCES: inference_rate}
    rates = {unit: rate for unit, rate in given.items() if rate is not None}
    if len(rates) != 1:
        raise ConfigError("give one rate to size for: either --request-rate or --inference-rate")
    ((unit, rate),) = rates.items()
    is_rate = isfinite(rate) and 0 < rate <= _MOST
    require(is_rate, f"{unit[:-1]}-rate", f"{rate:g}", f"give {unit} per second above 0, at most {_MOST:g}")
    require(spare >= 0, "spare", spare, "give 0 or more replicas")
    limit = None if latency_threshold is None else _limit(latency_threshold)
    return Demand(rate=rate, unit=unit, headroom=_headroom(headroom), spare=spare, limit=limit)


def price(text: str) -> Price:
    """The price of a replica, such as 2.50/h, $1800/month or 48 EUR/day; raises ConfigError."""
    found = _PRICE.fullmatch(text.strip())
    before, number, after, unit = found.groups() if found else ("", "0", "", "h")
    per_hour = float(number) / _HOURS[unit]
    is_price = 0 < per_hour < _MOST and not (before and after)
    require(is_price, "price", text, "write one above 0 per h, day or month, such as 2.50/h or $1800/month")
    return Price(per_hour=per_hour, currency=before or after)


def _headroom(text: str) -> float:
    """A share, such as 0.3 of 30%."""
    found = _SHARE.fullmatch(text.strip())
    share = float(found[1]) * (0.01 if found[2] else 1) if found else -1.0
    is_share = 0 <= share <= 10 and (found is None or bool(found[2]) or share <= 1)
    require(is_share, "headroom", text, "write a share of 0 or more, such as 30% or 0.3")
    return share


def _limit(text: str) -> Threshold:
    found = threshold(text)
    if found is None or found.metric not in _LATENCIES or found.operator != "<" or found.limit <= 0:
        names = ", ".join(_LATENCIES).replace("_", ".")
        raise ConfigError(f"latency-threshold is {text}; write one like p99<100ms, of {names}")
    return found
