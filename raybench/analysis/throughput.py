"""Requests of a trial -> how many succeeded, and how many a second; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raybench.analysis.plain_numbers import plain
from raybench.analysis.window import Window, counted_in, window
from raybench.clients.base import OK
from raybench.results import samples


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Measured requests by their end; `errors` are those that failed, by status, `first_error` what the first said."""

    attempted: int
    succeeded: int
    failed: int
    errors: Mapping[str, int]
    first_error: str | None = None

    @property
    def error_rate(self) -> float:
        return self.failed / self.attempted if self.attempted else 0.0


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Successes of the window per second, and the items in them."""

    requests_per_s: float
    inferences_per_s: float


def count_requests(measured: pa.Table) -> Requests:
    """Measured requests by their end."""
    counts = {each["values"]: each["counts"] for each in measured["status"].value_counts().to_pylist()}
    succeeded = counts.pop(OK, 0)
    n = len(measured)
    said = measured["error"].drop_null()
    first = str(said[0].as_py()) if len(said) else None
    return Requests(attempted=n, succeeded=succeeded, failed=n - succeeded, errors=counts, first_error=first)


def throughput_in(measured: pa.Table, span: Window | None, *, of: np.ndarray | None = None) -> Throughput | None:
    """Successes per second of the window, or those of them that are chosen, bool [n]; None where there is no rate."""
    counted = counted_in(measured, span) if span else None
    if counted is None:
        return None
    share = np.where(samples.is_ok(measured) if of is None else samples.is_ok(measured) & of, counted.share, 0.0)
    return Throughput(
        requests_per_s=float(share.sum() / counted.seconds),
        inferences_per_s=float(share @ measured["items"].to_numpy()) / counted.seconds,
    )


def ceiling_of(rows: pa.Table) -> Throughput | None:
    """What the same client reaches against a model that does nothing; None where nothing was asked or answered."""
    empty = samples.ceiling(rows)
    found = throughput_in(empty, window(empty, workers=1, lanes=1))
    return found if found and found.requests_per_s else None


def below_measured(ceiling: Throughput | None, throughput: Throughput | None) -> str | None:
    """Why what should be a ceiling is none: the same client has reached more; None where it is one, or not known."""
    if ceiling is None or throughput is None or ceiling.requests_per_s >= throughput.requests_per_s:
        return None
    found, reached = (plain(each.requests_per_s, 4) for each in (ceiling, throughput))
    return f"a model that does nothing gave it {found} requests/s, and the model under test {reached}"


def headroom_of(ceiling: Throughput | None, throughput: Throughput | None) -> float | None:
    """How many times as much the client can do; None where either is not known."""
    if ceiling is None or throughput is None or not throughput.requests_per_s:
        return None
    return ceiling.requests_per_s / throughput.requests_per_s
