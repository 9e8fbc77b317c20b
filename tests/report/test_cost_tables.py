"""What the servers cost, as people read it."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers import MS, lanes, observed, summary, telemetry
from record_builders import statistics, worker_facts
from rich.console import Console

from raybench.analysis.summary import Summary
from raybench.config import search_goal
from raybench.report.text import markdown as short_markdown
from raybench.report.text import print_report
from raybench.results.records import CopyCost, StartRecord, TelemetryRecord
from raybench.results.results_folder import ObservedTrial

DASH = "–"
COUNTED = statistics(
    success=40,
    executions=20,
    queue_ns=40 * MS,
    compute_input_ns=4 * MS,
    compute_infer_ns=320 * MS,
    compute_output_ns=0,
    batches={2: 20},
)
STEADY = [(i * 10, i * 10 + 10) for i in range(40)]


def readings(*, gpu_mib: float | None = None, cpu_s: float = 2.0) -> Any:
    """A server that has 100 MiB, 150 when warm and 200 at most, half of each its own; and this CPU time."""
    held = [("idle", 100.0, 1.0), ("warm", 150.0, 1.0), ("load", 200.0, 1.0 + cpu_s), ("drained", 160.0, 1.0 + cpu_s)]
    tree = {"kind": "process", "id": "7"}
    rows = [{**tree, "phase": p, "rss_mib": mib, "pss_mib": mib / 2, "cpu_s": cpu} for p, mib, cpu in held]
    rows += [{"kind": "gpu", "id": "a", "phase": "load", "gpu_used_mib": gpu_mib}] if gpu_mib else []
    return telemetry(*rows)


def cells(text: str, *start: str) -> list[str]:
    """The rest of the Markdown row that starts with these cells."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {' | '.join(start)} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][len(start) :]


def markdown(shown: Summary) -> str:
    return short_markdown(shown, is_detailed=True)


def printed(shown: Summary) -> str:
    out = io.StringIO()
    print_report(Console(file=out, width=80), shown, Path("results/run-1"), is_detailed=True)
    return out.getvalue()


def test_memory_is_told_moment_by_moment() -> None:
    """A row for each measure that is known, from before the start until after the load; what is not known is a dash."""
    text = markdown(summary(observed(None, readings(gpu_mib=591.0))))
    name = "triton x1"
    assert cells(text, name, "RSS") == [DASH, "100", "150", "200", "200", "160"]
    assert cells(text, name, "PSS") == [DASH, "50", "75", DASH, DASH, "80"]
    assert cells(text, name, "GPU") == [DASH, DASH, DASH, "591", "591", DASH]
    assert f"| {name} | GPU, own |" not in text


def test_the_time_of_a_request_is_told_stage_by_stage() -> None:
    """Service, what is left of it, and the server's own stages, beside how many requests met in a call and its CPU."""
    text = markdown(summary(observed(lanes(STEADY, items=8), readings(), server_statistics=COUNTED)))
    found = cells(text, "triton x1", "10")
    assert found == ["0.9", "1", "0.1", "8", "0", "2.00", "2.0", "160.0"]


def test_starts_are_averaged_with_their_range() -> None:
    """A row for each server and model whose start was seen: how many, their mean, and the range of several."""
    starts = [StartRecord(ready_s=ready_s, warm_up_s=0.5) for ready_s in (3.0, 4.0)]
    shown = summary(
        *(observed(round=i, server_start=each) for i, each in enumerate(starts, 1)), observed(label="local")
    )
    text = markdown(shown)
    found = cells(text, "triton x1", "resnet50-no-opt")
    assert found == ["2", "3.50 (3.00–4.00)", "0.50", "3.51 (3.01–4.01)", DASH]
    assert "| local | resnet50-no-opt |" not in text
    assert "Cold start" not in markdown(summary(observed()))


def test_rounds_are_averaged_and_of_peaks_the_highest_counts() -> None:
    """Of several rounds the means stand in the tables, but for the peak, which memory has to hold."""
    higher = telemetry({"kind": "process", "id": "7", "phase": "load", "rss_mib": 300.0})
    text = markdown(summary(observed(None, readings()), observed(None, higher, round=2)))
    assert cells(text, "triton x1", "RSS") == [DASH, "100", "150", "250", "300", "160"]


def test_the_terminal_has_the_same_tables() -> None:
    """What Markdown tells the terminal tells too, whole even where it is narrow."""
    text = printed(summary(observed(lanes(STEADY), readings(), server_statistics=COUNTED)))
    assert "Server memory, MiB" in text
    assert "images/CPU s" in text


def test_costs_are_details() -> None:
    """Without --details neither the terminal nor Markdown has these tables; the page always does."""
    shown = summary(observed(lanes(STEADY), readings(), server_statistics=COUNTED))
    assert "Server memory" not in short_markdown(shown)
    out = io.StringIO()
    print_report(Console(file=out, width=80), shown, Path("results/run-1"))
    assert "Server memory" not in out.getvalue()


def test_servers_that_tell_nothing_have_no_tables() -> None:
    """Without telemetry there is nothing to show; a search shows its curve instead."""
    goal = search_goal.Goal(kind=search_goal.OOM, variable="workers", steps=(1, 2))
    shown = (observed(None, readings()),)
    assert "Server memory" in markdown(summary(*shown))
    assert "Server memory" not in markdown(summary(*shown, goal=goal))
    assert "Server memory" not in markdown(summary(observed()))


def out_of_sight(page: str | None) -> ObservedTrial:
    return observed(label="triton", telemetry=TelemetryRecord(node=None, gpu_source=page))


def test_a_server_that_nobody_could_look_at_is_named() -> None:
    """That a server's host is not in the cluster, and by whose word its GPUs are known, is said in a line."""
    text = markdown(summary(observed(), out_of_sight("http://far:8002/metrics")))
    (line,) = [line for line in text.splitlines() if "not in this Ray cluster" in line]
    assert line.startswith("- triton: ")
    assert "GPUs only as it reports them (http://far:8002/metrics)" in line
    assert "unknown, GPUs too" in markdown(summary(out_of_sight(None)))
    unsent = replace(out_of_sight(None), samples=lanes())
    assert "not in this Ray cluster" not in markdown(summary(observed(), unsent))


def test_service_is_shown_with_and_without_the_clients_copy() -> None:
    """Where a client copies inputs to a GPU, the mean service has a column with that copy and one without it; where
    none does, there are no such columns."""
    copying = worker_facts(copied=CopyCost(requests=40, wall_s=0.1))
    rows = lanes(STEADY)
    text = markdown(summary(observed(rows, readings(), workers=[copying]), observed(rows, readings(), label="local")))
    assert "| server | service | client's copy | without it |" in text
    assert cells(text, "triton x1", "10")[:2] == ["2.5", "7.5"]
    assert cells(text, "local", "10")[:2] == [DASH, DASH]
    assert "client's copy" not in markdown(summary(observed(rows, readings())))
