"""A page of metrics in Prometheus' text format, as Triton and TensorFlow Serving print them."""

import re
from http.client import HTTPException
from math import isfinite
from typing import NamedTuple
from urllib.request import ProxyHandler, build_opener

_TIMEOUT_S = 5.0
_LARGEST_BYTES = 2**24
_LINE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)')
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
    lines = (line.strip() for line in text.splitlines())
    metrics = [_metric(line) for line in lines if line and not line.startswith("#")]
    return [metric for metric in metrics if isfinite(metric.value)]


def _metric(line: str) -> Metric:
    found = _LINE.fullmatch(line)
    labels = found[2] or "" if found else ""
    if not found or _LABEL.sub("", labels):
        raise ValueError(f"{line[:100]!r} is no metric")
    return Metric(found[1], dict(_LABEL.findall(labels)), float(found[3]))
