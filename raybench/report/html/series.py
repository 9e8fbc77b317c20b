"""What was observed in a trial -> what its charts draw: exact percentiles, and bins of time that drop no request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.analysis.latency import CONFIDENCE
from raybench.analysis.trial_summary import beside_mib, clock_offsets_ns, windowed
from raybench.analysis.window import Window, begun_ns
from raybench.clients.base import OK
from raybench.results import samples
from raybench.results.records import TrialRecord
from raybench.results.results_folder import ObservedTrial, StoredTrial

_POINTS = 160
_MOST_BINS, _BIN_REQUESTS = 96, 8


class Curve(NamedTuple):
    """Shares in 0..1 of the requests, and the latency in ms that so many do not exceed; float [n] each."""

    share: np.ndarray
    ms: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A trial over time; 0 is where its window begins, and what lies before is warm-up. NaN where nothing ended.

    Bins are of equal length; the wait at the gate between warm-up and load is cut out.
    """

    round: int
    at_s: np.ndarray
    inferences_per_s: np.ndarray
    fastest_ms: np.ndarray
    median_ms: np.ndarray
    slowest_ms: np.ndarray
    failed_s: np.ndarray
    memory: Mapping[str, tuple[np.ndarray, np.ndarray]]  # by what it is of: seconds, MiB


@dataclass(frozen=True)
class TrialSeries:
    """What is drawn of a trial. `latencies_ms` are responses of the successes of its window, in a closed loop their
    service, in rising order; `timeline` is None where it sent nothing."""

    trial: str
    cell: str
    latencies_ms: np.ndarray
    timeline: Timeline | None


def trial_series(trial: ObservedTrial | StoredTrial) -> TrialSeries:
    """Everything that the charts draw of one trial."""
    rows = trial.samples
    measured, window, begun = windowed(trial.record, rows)
    return TrialSeries(
        trial=trial.record.id,
        cell=trial.record.cell,
        latencies_ms=np.sort(_taken_ns(measured)[begun & samples.is_ok(measured)]) / 1e6,
        timeline=_timeline(trial, samples.warmup(rows), measured, window) if len(measured) else None,
    )


def nothing_sent(record: TrialRecord) -> TrialSeries:
    """A trial of which there is nothing to draw."""
    return TrialSeries(trial=record.id, cell=record.cell, latencies_ms=np.empty(0), timeline=None)


def distribution(ordered_ms: np.ndarray) -> Curve:
    """The empirical distribution from the fastest to the slowest request, through exact percentiles."""
    return _through(ordered_ms, np.linspace(1 / len(ordered_ms), 1, _POINTS))


def tail(ordered_ms: np.ndarray) -> Curve:
    """Percentiles at equal steps of the number of nines, up to the last that the sample supports (see latency)."""
    last = ((1 - CONFIDENCE) / 2) ** (1 / len(ordered_ms))
    return _through(ordered_ms, 1 - 10 ** np.linspace(0, np.log10(1 - last), _POINTS))


def _through(ordered_ms: np.ndarray, share: np.ndarray) -> Curve:
    return Curve(share, np.quantile(ordered_ms, np.clip(share, 0, 1), method="inverted_cdf"))


def _timeline(
    trial: ObservedTrial | StoredTrial, warmup: pa.Table, measured: pa.Table, window: Window | None
) -> Timeline:
    """A trial from the first request of its warm-up to the end of its window, or to its last reply without one."""
    first, last = pc.min(measured["sent_ns"]).as_py(), pc.max(measured["done_ns"]).as_py()
    start_ns, end_ns = (window.start_ns, window.end_ns) if window else (first, last)
    warm = samples.on_one_clock(warmup, clock_offsets_ns(trial.record))
    gate_ns = first - pc.max(warm["done_ns"]).as_py() if len(warm) else 0
    parts = [_Requests.of(measured, start_ns), _Requests.of(warm, start_ns - gate_ns)]
    requests = _Requests(*map(np.concatenate, zip(*parts, strict=True)))
    edges_s = _edges(requests, (end_ns - start_ns) / 1e9)
    low, middle, high = _spread(requests, edges_s)
    centres = (edges_s[:-1] + edges_s[1:]) / 2
    failed = np.histogram(requests.begun_s[~requests.is_ok], edges_s)[0]
    return Timeline(
        round=trial.record.round,
        at_s=centres,
        inferences_per_s=np.diff(_items_by(requests, edges_s)) / np.diff(edges_s),
        fastest_ms=low,
        median_ms=middle,
        slowest_ms=high,
        failed_s=centres[failed > 0],
        memory=_memory(trial, (first - start_ns) / 1e9, start_ns, edges_s[-1]),
    )


class _Requests(NamedTuple):
    """Requests on the clock of a timeline, one array [n] each."""

    begun_s: np.ndarray
    sent_s: np.ndarray
    done_s: np.ndarray
    taken_ms: np.ndarray
    items: np.ndarray
    is_ok: np.ndarray

    @classmethod
    def of(cls, rows: pa.Table, zero_ns: int) -> "_Requests":
        begun, sent, done = begun_ns(rows), samples.ns(rows, "sent_ns"), samples.ns(rows, "done_ns")
        is_ok = pc.equal(rows["status"].cast(pa.string()), OK).to_numpy()
        return cls(
            begun_s=(begun - zero_ns) / 1e9,
            sent_s=(sent - zero_ns) / 1e9,
            done_s=(done - zero_ns) / 1e9,
            taken_ms=_taken_ns(rows) / 1e6,
            items=rows["items"].to_numpy(),
            is_ok=is_ok.astype(bool),
        )


def _taken_ns(rows: pa.Table) -> np.ndarray:
    """Response, in a closed loop service."""
    response = samples.response_ns(rows)
    return samples.service_ns(rows) if response is None else response


def _edges(requests: _Requests, end_s: float) -> np.ndarray:
    """Edges of bins of one length, one of them at 0, with some requests in each on average."""
    first_s = min(float(requests.sent_s.min()), 0.0)
    bins = np.clip(len(requests.sent_s) // _BIN_REQUESTS, 1, _MOST_BINS)
    after = max(1, round(bins * end_s / (end_s - first_s)))
    width = end_s / after
    return np.arange(-np.ceil(-first_s / width - 1e-9), after + 1) * width


def _items_by(requests: _Requests, at_s: np.ndarray) -> np.ndarray:
    """Items answered by each time, a request under way counting by its share; float [n].

    Of an open loop by its share of the quickest service: in one that is overloaded requests mostly wait, and more of
    them from second to second, so that shares of all that would be more than was answered.
    """
    good = requests.is_ok
    took = np.maximum(requests.done_s - requests.sent_s, 1e-9)[good]
    if len(took) and np.any(requests.begun_s < requests.sent_s):
        took = np.full(len(took), took.min())
    begun, items = requests.done_s[good] - took, requests.items[good]
    return np.array([np.dot(items, np.clip((at - begun) / took, 0, 1)) for at in at_s])


def _spread(requests: _Requests, edges_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least, the median and the greatest latency of the successes that began in each bin, NaN without any."""
    order = np.argsort(requests.begun_s[requests.is_ok])
    begun, taken = requests.begun_s[requests.is_ok][order], requests.taken_ms[requests.is_ok][order]
    bins = np.split(taken, np.searchsorted(begun, edges_s))[1:-1]
    low, middle, high = (
        np.array([of(each) if len(each) else np.nan for each in bins]) for of in (np.min, np.median, np.max)
    )
    return low, middle, high


def _memory(
    trial: ObservedTrial | StoredTrial, first_s: float, start_ns: int, end_s: float
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """RSS of the server's processes, less what is the client's, and each GPU's used memory."""
    found = {}
    for kind, column, name, beside in (
        ("process", "rss_mib", "RSS", beside_mib(trial.record)),
        ("gpu", "gpu_used_mib", "GPU", 0.0),
    ):
        if beside is None:  # items that come and go
            continue
        rows = trial.telemetry.filter(pc.equal(trial.telemetry["kind"], kind)).filter(pc.field(column).is_valid())
        for number, each in enumerate(pc.unique(rows["id"]).to_pylist()):
            mine = rows.filter(pc.equal(rows["id"], each))
            at_s = (samples.ns(mine, "time_ns") - start_ns) / 1e9
            inside = (at_s >= first_s) & (at_s <= end_s)
            if inside.any():
                label = f"{name} {number}" if number else name
                found[label] = (at_s[inside], mine[column].to_numpy()[inside] - beside)
    return found
