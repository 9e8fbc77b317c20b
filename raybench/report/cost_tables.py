"""What the servers cost, as tables of text: their start, memory from before it until after the load; time and CPU."""

from collections.abc import Callable, Iterable, Mapping
from statistics import fmean
from typing import NamedTuple

from raybench.analysis import units
from raybench.analysis.cold_start import ColdStart
from raybench.analysis.costs import counts_agree
from raybench.analysis.plain_numbers import plain
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary

_DASH = "–"
_MOMENTS = ("baseline", "idle", "warm", "mean", "peak", "drained")
_MEASURES = {"RSS": "rss_mib", "PSS": "pss_mib", "GPU": "gpu_mib", "GPU, own": "gpu_server_mib"}
_STAGES = {
    "overhead": "overhead",
    "queue": "queue",
    "input": "compute_input",
    "compute": "compute_infer",
    "output": "compute_output",
}
_SINCE_START = {
    "ready_s": "ready",
    "warm_up_s": "of which warm-up",
    "first_answer_s": "first answer",
    "steady_s": "steady",
}


class ReportTable(NamedTuple):
    """A table: its title, the names of its columns, and how many of these, at the left, are words."""

    title: str
    columns: tuple[str, ...]
    words: int
    rows: list[tuple[str, ...]]


def cost_tables(summary: Summary, names: Mapping[str, str]) -> list[ReportTable]:
    """The tables of a run, for cells by their names; a search has its curve instead, and who costs nothing has none."""
    if summary.search is not None:
        return []
    cells = {names[cell.cell]: [t for t in summary.trials if t.id in cell.trials] for cell in summary.cells}
    memory = [row for name, trials in cells.items() for row in _memory(name, trials)]
    has_copies = any(trial.client_copy_ms is not None for trial in summary.trials)
    copied = ("client's copy", "without it") if has_copies else ()
    times = [_time(name, trials, has_copies=has_copies) for name, trials in cells.items()]
    time = [row for row in times if set(row[2:]) != {_DASH}]
    found = (
        _cold_starts(summary),
        ReportTable("Server memory, MiB", ("server", "kind", *_MOMENTS), 2, memory),
        ReportTable(
            "Where request time went (mean ms), and CPU",
            (
                "server",
                "service",
                *copied,
                *_STAGES,
                "per call",
                "CPU s",
                f"{units.common(trial.unit for trial in summary.trials)}/CPU s",
            ),
            1,
            time,
        ),
    )
    return [table for table in found if table.rows]


def notes(summary: Summary, names: Mapping[str, str]) -> list[str]:
    """Which servers run on a host outside of the Ray cluster; only those to which something was sent."""
    pages = {
        names[trial.cell]: trial.telemetry.gpu_source
        for trial in summary.trials
        if trial.telemetry and trial.telemetry.node is None and trial.requests.attempted
    }
    return [
        f"{name}: its host is not in this Ray cluster: memory and CPU unknown, "
        + (f"GPUs only as it reports them ({page})" if page else "GPUs too")
        for name, page in pages.items()
    ]


def _memory(name: str, trials: list[TrialSummary]) -> list[tuple[str, ...]]:
    """A row of each measure that is known; means over the rounds, and of the peaks the highest."""
    rows = []
    for measure, field in _MEASURES.items():
        values = [
            _number(_known(getattr(getattr(t.memory, moment), field) for t in trials), _over(moment), "{:.0f}".format)
            for moment in _MOMENTS
        ]
        if any(value != _DASH for value in values):
            rows.append((name, measure, *values))
    return rows


def _over(moment: str) -> Callable[[list[float]], float]:
    return max if moment == "peak" else fmean


def _time(name: str, trials: list[TrialSummary], *, has_copies: bool) -> tuple[str, ...]:
    """With `has_copies` the part of the service in which the client copied inputs to a GPU, and the rest."""
    times = [t.server_time_ms for t in trials if t.server_time_ms]
    service = _known(t.service_ms.mean if t.service_ms else None for t in trials)
    stages = [_known(getattr(each, field) for each in times) for field in _STAGES.values()]
    merged = _known(_requests_per_call(t) for t in trials)
    return (
        name,
        _number(_known(each.service for each in times) or service, fmean, plain),
        *(_copied(trials) if has_copies else ()),
        *(_number(values, fmean, plain) for values in stages),
        _number(merged, fmean, "{:.2f}".format),
        _number(_known(t.cpu.server_s for t in trials), fmean, "{:.1f}".format),
        _number(_known(t.cpu.items_per_cpu_s for t in trials), fmean, "{:.1f}".format),
    )


def _copied(trials: list[TrialSummary]) -> tuple[str, str]:
    known = [(t.client_copy_ms, t.service_ms.mean) for t in trials if t.client_copy_ms is not None and t.service_ms]
    return (
        _number([copy for copy, _ in known], fmean, plain),
        _number([service - copy for copy, service in known], fmean, plain),
    )


def _requests_per_call(trial: TrialSummary) -> float | None:
    """None where some of the requests were not this client's."""
    found = trial.server_statistics
    if found is None or not counts_agree(found, trial.requests.succeeded) or not found.counted.executions:
        return None
    return found.counted.success / found.counted.executions


def _cold_starts(summary: Summary) -> ReportTable:
    """A row for each server and model whose start was seen: means over the starts, and the range of several."""
    starts: dict[tuple[str, str], list[ColdStart]] = {}
    for trial in summary.trials:
        if trial.cold_start:
            starts.setdefault((trial.label, trial.model.name), []).append(trial.cold_start)
    rows = [
        (*names, str(len(found)), *(_range([getattr(each, name) for each in found]) for name in _SINCE_START))
        for names, found in sorted(starts.items())
    ]
    return ReportTable("Cold start, s", ("server", "model", "starts", *_SINCE_START.values()), 2, rows)


def _range(values: list[float | None]) -> str:
    """The mean, and the range of several; a dash unless all are known."""
    known = _known(values)
    if len(known) < len(values):
        return _DASH
    mean, least, most = _seconds(fmean(known)), _seconds(min(known)), _seconds(max(known))
    return mean if least == most else f"{mean} ({least}–{most})"


def _seconds(value: float) -> str:
    return f"{value:.2f}"


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _number(values: list[float], over: Callable[[list[float]], float], form: Callable[[float], str]) -> str:
    return form(over(values)) if values else _DASH
