"""Thresholds as a user writes them, such as p99<50ms, error_rate<1% or throughput<0.95."""

import operator
import re
from dataclasses import dataclass

LATENCIES = ("mean", "p50", "p90", "p95", "p99", "p99_9", "max")
THROUGHPUT, ERROR_RATE, MEMORY = "throughput", "error_rate", "memory"
_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_UNITS = {
    **{name: {"ms": 1.0, "s": 1e3} for name in LATENCIES},
    THROUGHPUT: {"": 1.0, "/s": 1.0},
    ERROR_RATE: {"": 1.0, "%": 0.01},
    MEMORY: {"MiB": 1.0, "GiB": 1024.0},
}
_WRITTEN = re.compile(r"(p\([\d.]+\)|[a-z_]+[\d.]*)(<=|>=|<|>)(\d+(?:\.\d+)?)([A-Za-z%/]*)", re.ASCII)


@dataclass(frozen=True)
class Threshold:
    """A metric and its limit in ms, inferences/s, a share of the requests or MiB; or a ratio of any of them."""

    text: str
    metric: str
    operator: str
    limit: float

    def holds(self, value: float) -> bool:
        return bool(_OPERATORS[self.operator](value, self.limit))


def threshold(text: str) -> Threshold | None:
    """A threshold with its unit; None where it is none."""
    return _read(text, _UNITS)


def ratio(text: str) -> Threshold | None:
    """A threshold of a ratio, such as throughput<0.95: without a unit; None where it is none."""
    return _read(text, {name: {"": 1.0} for name in (THROUGHPUT, *LATENCIES)})


def _read(text: str, units: dict[str, dict[str, float]]) -> Threshold | None:
    found = _WRITTEN.fullmatch(text.replace(" ", ""))
    if not found:
        return None
    name, sign, number, unit = found.groups()
    metric = re.sub(r"[()]", "", name).replace(".", "_")
    scale = units.get(metric, {}).get(unit)
    limit = float(number) * scale if scale else float("inf")
    return Threshold(text, metric, sign, limit) if 0 <= limit < 1e12 else None
