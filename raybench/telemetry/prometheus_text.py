"""A page of metrics in Prometheus' text format, as Triton and TensorFlow Serving print them."""

from http.client import HTTPException
from math import isfinite
from typing import NamedTuple
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT_S = 5.0
_LARGEST_BYTES = 2**24
_OPENER = build_opener(ProxyHandler({}))  # a server of the cluster is not reached by a proxy


class Metric(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float


def fetch(url: str, timeout_s: float = _TIMEOUT_S) -> list[Metric] | None:
    """The metrics of a page; None where nothing answers, or not with such a page."""
    try:
        with _OPENER.open(url, timeout=timeout_s) as page:
            return parse(page.read(_LARGEST_BYTES).decode())
    except (OSError, HTTPException, ValueError):
        return None


def parse(text: str) -> list[Metric]:
    """The samples of a page that are finite numbers; raises ValueError for a page of something else.

    See prometheus.io/docs/instrumenting/exposition_formats.
    """
    # By its TYPE comments the library would rename each counter to NAME_total, which no server prints.
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = (sample for family in text_string_to_metric_families(lines) for sample in family.samples)
    return [Metric(sample.name, dict(sample.labels), float(sample.value)) for sample in found if isfinite(sample.value)]
