"""A results folder as one page, report.html: no script, and nothing that is fetched from elsewhere."""

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import yaml

from raybench.analysis.cells import CellSummary
from raybench.analysis.comparisons import NO_DIFFERENCE, Comparison
from raybench.analysis.trial_summary import Latency, TrialSummary
from raybench.report import Summary, node_tables, text
from raybench.report.html import figures, palette
from raybench.report.html.headline import headline
from raybench.report.html.series import drawn
from raybench.results import results_folder

_OPEN_TIMELINES = 8  # more than that are folded away
_DASH = "–"


def write(folder: Path, summary: Summary) -> Path:
    """Renew a results folder's report.html and say where it is; raises StoreError."""
    return results_folder.write_report(
        folder, page(results_folder.load(folder), summary, results_folder.benchmark_text(folder))
    )


def page(results: results_folder.Results, summary: Summary, benchmark: str = "") -> str:
    """The page of a run; `benchmark` is its benchmark.yaml."""
    names = figures.names(summary)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ms": text.ms, "when": _when}
    trials = list(map(drawn, results.trials))
    timelines = list(figures.over_time(trials, summary, names))
    return environment.get_template("report.html.jinja").render(
        light=palette.css(palette.LIGHT),
        dark=palette.css(palette.DARK),
        run=summary.run,
        headline=headline(summary),
        title=text.title(summary),
        requests=sum(trial.requests.attempted for trial in summary.trials),
        failed=sum(trial.requests.failed for trial in summary.trials),
        verification=summary.verification,
        comparisons=[_compared(each, len(summary.comparisons)) for each in summary.comparisons],
        ratios=figures.ratios(summary, names),
        columns=text.columns(summary),
        tables=_tables(summary),
        doubts=[(letter, list(each)) for letter, each in groupby(text.doubts(summary), key=lambda kind: kind.letter)],
        thresholds=[(each, text.outcome(each)) for each in summary.thresholds],
        unmeasured=[cell for cell in summary.cells if cell.reason],
        by_node=node_tables.sheets(summary, text.row_names(summary)),
        bars=[] if summary.search else list(figures.bars(summary, names)),
        latencies=[] if summary.search else list(figures.latencies(trials, summary, names)),
        percentiles=list(_percentiles(summary, names)),
        timelines=timelines,
        are_timelines_open=len(timelines) <= _OPEN_TIMELINES,
        stages=figures.stages(summary, names),
        searches=[figures.searched(found, results.goal) for found in summary.search or ()],
        answers=_answers(summary),
        facts=_facts(summary),
        packages=summary.environment.get("packages", {}),
        servers=_servers(summary),
        models=_models(summary),
        command=shlex.join(summary.run["command"]),
        benchmark=benchmark,
    )


def _tables(summary: Summary) -> list[tuple[str, list[tuple[CellSummary, tuple[str, ...]]]]]:
    """Of each model its rows as the terminal has them; the last value is the letters of its doubts."""
    return [
        (model, [(cell, text.row(cell, summary)) for cell in cells])
        for model, cells in groupby(summary.cells, key=lambda cell: cell.model)
    ]


def _compared(c: Comparison, judged: int) -> tuple[Comparison, str]:
    """A comparison, and what its rounds would have seen where none is shown."""
    if c.verdict != NO_DIFFERENCE or c.detectable is None:
        return c, ""
    return c, text.seen(c.detectable) + (f", among {judged} comparisons" if judged > 1 else "")


def _percentiles(summary: Summary, names: Mapping[str, str]) -> Iterator[tuple[TrialSummary, str, Latency]]:
    for trial in summary.trials:
        if latency := trial.response_ms or trial.service_ms:
            yield trial, names[trial.cell], latency


def _answers(summary: Summary) -> list[tuple[str, Mapping[str, Any]]]:
    """Of each server and model the comparison with TensorFlow that differs most."""
    compared = [(t.label, each) for t in summary.trials for each in (t.verification or {"models": ()})["models"]]
    worst: dict[tuple[str, str], tuple[str, Mapping[str, Any]]] = {}
    for label, each in sorted(compared, key=lambda pair: (-pair[1]["nearest"], pair[1]["difference"])):
        worst[label, each["model"]] = label, each
    return [worst[key] for key in sorted(worst)]


def _facts(summary: Summary) -> list[tuple[str, str]]:
    """On what it was measured."""
    there = summary.environment
    cluster = there.get("ray_cluster") or {"nodes": None}
    told = {
        "host": there.get("host"),
        "system": there.get("os"),
        "processor": there.get("cpu"),
        "cores": there.get("cores"),
        "memory": f"{there['memory_mib'] / 1024:.1f} GiB" if there.get("memory_mib") else None,
        "Ray's nodes": cluster["nodes"],
        "Python": there.get("python"),
        "started": _when(summary.run["started"]),
        "ended": _when(summary.run["ended"]) if summary.run["ended"] else "it has not ended",
    }
    return [(name, str(value)) for name, value in told.items() if value is not None]


def _servers(summary: Summary) -> list[tuple[str, str, str]]:
    """Each server with its version, and its configuration as YAML."""
    found = {trial.label: trial.server for trial in summary.trials}
    return [
        (label, str(server["version"] or _DASH), yaml.safe_dump(server["config"] or {}, sort_keys=False).strip())
        for label, server in sorted(found.items())
    ]


def _models(summary: Summary) -> list[Mapping[str, Any]]:
    return list({trial.model["name"]: trial.model for trial in summary.trials}.values())


def _when(stamp: str) -> str:
    return f"{datetime.fromisoformat(stamp):%Y-%m-%d %H:%M} UTC"
