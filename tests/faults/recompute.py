"""Recompute every number of a results folder from its Parquet files, and name each that the report contradicts.

    python tests/faults/recompute.py results/run-...

It shares no code with raybench's own analysis. Exit code 1 where a number is contradicted. The tests run it on
servers with faults (tests/driver/test_lying_numbers.py).
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_CLOSE = 1e-6
_PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p99_9": 99.9}


def contradictions(folder: Path) -> list[str]:
    """A line for each number of summary.json, of the tables and of the page that its samples contradict."""
    summary = json.loads((folder / "summary.json").read_text())
    found = [f"{trial['id']}: {line}" for trial in summary["trials"] for line in _of_trial(folder, trial)]
    found += [f"{cell['cell']}: {line}" for cell in summary["cells"] for line in _of_row(cell, summary)]
    return found + list(_of_page(folder, summary))


def _of_trial(folder: Path, trial: dict[str, Any]) -> Iterator[str]:
    rows = _measured(folder, trial)
    good = rows[rows.status == "OK"]
    requests = trial["requests"]
    yield from _differ("attempted", requests["attempted"], len(rows))
    yield from _differ("succeeded", requests["succeeded"], len(good))
    yield from _differ("failed", requests["failed"], len(rows) - len(good))
    yield from _differ("errors", requests["errors"], rows[rows.status != "OK"].status.value_counts().to_dict())
    yield from _differ("job_s", trial["job_s"], (rows.done_ns.max() - rows.sent_ns.min()) / 1e9 if len(rows) else None)
    if trial["load"]["arrivals"] == "closed":
        yield from _of_window(trial, rows)
    yield from _of_server(trial, good)
    yield from _of_memory(folder, trial)
    yield from (f"{path} is {value}" for path, value in _numbers(trial) if value < 0 and _is_amount(path))


def _measured(folder: Path, trial: dict[str, Any]) -> pd.DataFrame:
    """The measured requests on the driver's clock."""
    path = folder / "samples" / f"{trial['id']}.parquet"
    rows = pd.read_parquet(path)
    rows = rows[rows.phase == "measured"].copy()
    rows["status"] = rows.status.astype(str)
    ahead = rows.worker.map({each["worker"]: each["clock_offset_ns"] for each in trial["workers"]}).astype("int64")
    for column in ("sent_ns", "done_ns"):
        rows[column] = rows[column] - ahead
    return rows


def _of_window(trial: dict[str, Any], rows: pd.DataFrame) -> Iterator[str]:
    """A closed loop: from the last lane's first reply to the first lane's last one."""
    lanes = rows.groupby(["worker", "lane"]).done_ns.agg(["min", "max"])
    start, end = (lanes["min"].max(), lanes["max"].min()) if len(lanes) else (0, 0)
    inside = rows[(rows.sent_ns >= start) & (rows.sent_ns < end)]
    is_there = len(lanes) == trial["load"]["in_flight"] and end > start and len(inside) >= len(lanes)
    yield from _differ("window_s", trial["window_s"], (end - start) / 1e9 if is_there else None)
    if not is_there:
        yield from (f"{name} is there without a window" for name in ("throughput", "service_ms") if trial[name])
        return
    good = rows[rows.status == "OK"]
    share = (good.done_ns.clip(upper=end) - good.sent_ns.clip(lower=start)).clip(lower=0) / (
        good.done_ns - good.sent_ns
    )
    seconds = (end - start) / 1e9
    for name, amount in (("requests_per_s", share.sum()), ("inferences_per_s", (share * good["items"]).sum())):
        yield from _differ(name, trial["throughput"][name], amount / seconds)
    times_ms = np.sort(((inside.done_ns - inside.sent_ns)[inside.status == "OK"] / 1e6).to_numpy())
    latency = trial["service_ms"]
    if latency is None or len(times_ms) == 0:
        yield from _differ("service_ms", latency, None if len(times_ms) == 0 else "there")
        return
    yield from _differ("service_ms.n", latency["n"], len(times_ms))
    yield from _differ("service_ms.mean", latency["mean"], times_ms.mean())
    yield from _differ("service_ms.max", latency["max"], times_ms[-1])
    for name, p in _PERCENTILES.items():
        if latency[name] is not None:
            yield from _differ(name, latency[name], np.percentile(times_ms, p, method="inverted_cdf"))


def _of_server(trial: dict[str, Any], good: pd.DataFrame) -> Iterator[str]:
    """Where the time went is about the client's own requests, or unknown with a doubt."""
    times, statistics = trial["server_time_ms"], trial["server_statistics"]
    if times is None:
        codes = {doubt["code"] for doubt in trial["doubts"]}
        if trial["status"] != "failed" and statistics and len(good) and "breakdown_unknown" not in codes:
            yield "the breakdown is null without a doubt"
        return
    yield from _differ("statistics.success", statistics["counted"]["success"], len(good))
    yield from _differ("server_time_ms.service", times["service"], ((good.done_ns - good.sent_ns) / 1e6).mean())
    if times["overhead"] is not None:
        parts = [value for name, value in times.items() if name != "service" and value is not None]
        yield from _differ("the sum of server_time_ms", times["service"], sum(parts))


def _of_memory(folder: Path, trial: dict[str, Any]) -> Iterator[str]:
    path = folder / "telemetry" / f"{trial['id']}.parquet"
    rows = pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=["kind", "phase", "rss_mib"])
    load = rows[(rows.kind == "process") & (rows.phase == "load")].rss_mib.dropna()
    peak = trial["memory"]["peak"]["rss_mib"]
    if trial["server"]["kind"] != "local":  # which is less what it holds for the client
        yield from _differ("memory.peak", peak, load.max() if len(load) else None)


def _of_row(cell: dict[str, Any], summary: dict[str, Any]) -> Iterator[str]:
    """A row is the mean of its rounds, and says over how many."""
    trials = [trial for trial in summary["trials"] if trial["id"] in cell["trials"]]
    sent = [trial for trial in trials if trial["status"] == "ok"] or [t for t in trials if t["requests"]["attempted"]]
    rates = [trial["throughput"]["inferences_per_s"] for trial in sent if trial["throughput"]]
    jobs = [trial["job_s"] for trial in sent if trial["job_s"] is not None]
    for name, values in (("inferences_per_s", rates), ("job_s", jobs)):
        there = cell[name]
        yield from _differ(f"{name}.rounds", there and there["rounds"], len(values) or None)
        yield from _differ(f"{name}.mean", there and there["mean"], np.mean(values) if values else None)
    for name in ("p50", "p90", "p99"):
        each = [(trial["response_ms"] or trial["service_ms"] or {}).get(name) for trial in sent]
        yield from _differ(f"{name}_ms", cell[f"{name}_ms"], None if None in each or not each else np.mean(each))


def _of_page(folder: Path, summary: dict[str, Any]) -> Iterator[str]:
    """The page and the Markdown table have the same rows, with the counts and job times of summary.json."""
    page = re.sub(r"\s+", " ", (folder / "report.html").read_text())
    found = re.findall(r"<tr.*?</tr>", page)
    plain = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[dh].*?</t[dh]>", row)] for row in found]
    for cell in summary["cells"]:
        trials = [trial for trial in summary["trials"] if trial["id"] in cell["trials"]]
        counts = [str(sum(trial["requests"][name] for trial in trials)) for name in ("succeeded", "failed")]
        rows = [row for row in plain if row and row[0].split(":")[0] == cell["label"] and len(row) > 8]
        if not any(all(count in row for count in counts) for row in rows):
            yield f"report.html has no row of {cell['label']} with {counts[0]} ok and {counts[1]} failed"
    odd = [value for row in plain for value in row if re.match(r"-\d|nan|inf", value, re.I)]
    yield from (f"report.html has a cell {value}" for value in odd)
    (mean,) = re.findall(r"mean of a request.*?</svg>", page) or [""]
    yield from (f"report.html has a mean time of {value} ms" for value in re.findall(r">\s*(-[\d.]+|nan) ms", mean))


def _differ(name: str, shown: Any, expected: Any) -> Iterator[str]:
    is_equal = shown == expected
    if isinstance(shown, (int, float)) and isinstance(expected, (int, float, np.number)):
        is_equal = abs(float(shown) - float(expected)) <= _CLOSE * max(1.0, abs(float(expected)))
    if not is_equal:
        yield f"{name} is shown as {shown}, and the samples say {expected}"


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in entries:
        yield from _numbers(each, f"{path}.{key}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, float(value)


def _is_amount(path: str) -> bool:
    """Offsets, drifts, instants, free dimensions and what encoding added may be negative."""
    return not re.search(r"clock|shape|at_s|held_mib|lag_ms|pacing|doubts|nice", path)


def main(folders: list[str]) -> int:
    total = 0
    for folder in folders:
        found = contradictions(Path(folder))
        total += len(found)
        print(f"{folder}: {len(found)} contradictions", *found, sep="\n  ")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
