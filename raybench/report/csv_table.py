"""Trials as CSV under perf_analyzer's header, so that spreadsheets made for it work; our own columns come after its."""

import csv
import io
from collections.abc import Sequence
from itertools import groupby

from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary

# perf_analyzer's columns after its first, which is Concurrency or Request Rate; times are microseconds.
_THEIRS = (
    "Inferences/Second",
    "Client Send",
    "Network+Server Send/Recv",
    "Server Queue",
    "Server Compute Input",
    "Server Compute Infer",
    "Server Compute Output",
    "Client Recv",
    "p50 latency",
    "p90 latency",
    "p95 latency",
    "p99 latency",
)
_OURS = ("p99.9 latency", "Avg latency", "Model", "Server", "Batch", "Round", "Status", "Failed", "Trial")
# Of each item: bytes, and microseconds of CPU time.
_CLIENT = {
    "Request Bytes/Item": "request_bytes_per_item",
    "Reply Bytes/Item": "reply_bytes_per_item",
    "Encode/Item": "encode_ms_per_item",
    "Send/Item": "send_ms_per_item",
    "Decode/Item": "decode_ms_per_item",
}
_STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


def csv_text(summary: Summary) -> str:
    """A line for each trial; where there are closed and open loops, a table for each, with an empty line between.

    What is not known is empty. So are the client's send and receive: requests are encoded before the clock starts, and
    replies decoded after it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ordered = sorted(summary.trials, key=_order)
    for number, (is_open, trials) in enumerate(groupby(ordered, key=lambda trial: bool(trial.load.offered_rps))):
        if number:
            out.write("\n")
        writer.writerow(("Request Rate" if is_open else "Concurrency", *_THEIRS, *_OURS, *_CLIENT))
        writer.writerows(map(_line, trials))
    return out.getvalue()


def _order(trial: TrialSummary) -> tuple[bool, str, str, float, int]:
    rate = trial.load.offered_rps
    return bool(rate), trial.model.name, trial.label, rate or trial.load.in_flight, trial.round


def _line(trial: TrialSummary) -> Sequence[object]:
    load, latency = trial.load, trial.latency_ms
    stages = [getattr(trial.server_time_ms, name, None) for name in _STAGES]
    return (
        f"{load.offered_rps or load.in_flight:g}",
        "" if trial.throughput is None else f"{trial.throughput.inferences_per_s:.6g}",
        "",
        _us(trial.server_time_ms.overhead if trial.server_time_ms else None),
        *map(_us, stages),
        "",
        *(_us(getattr(latency, name, None)) for name in ("p50", "p90", "p95", "p99", "p99_9", "mean")),
        trial.model.name,
        trial.label,
        load.batch_size,
        trial.round,
        trial.status,
        trial.requests.failed,
        trial.id,
        *(_of_item(name, getattr(trial.client_cost, name, None)) for name in _CLIENT.values()),
    )


def _of_item(name: str, value: float | None) -> str:
    """Six digits: a conversion may take much less than a microsecond."""
    return "" if value is None else f"{value * 1000 if '_ms_' in name else value:.6g}"


def _us(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds * 1000:.0f}"
