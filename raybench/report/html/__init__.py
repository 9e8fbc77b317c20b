"""A results folder as one page, report.html: no script, and nothing that is fetched from elsewhere."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from itertools import groupby
from pathlib import Path

import jinja2
import yaml

from raybench.analysis import units
from raybench.analysis.cells import CellSummary
from raybench.analysis.comparisons import NO_DIFFERENCE, Comparison
from raybench.analysis.latency import Latency
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary
from raybench.report import result_table, sentences
from raybench.report.client_tables import client_tables
from raybench.report.cost_tables import cost_tables
from raybench.report.gpu_tables import gpu_tables
from raybench.report.headline import headline
from raybench.report.html import figures, palette
from raybench.report.html.series import nothing_sent, trial_series
from raybench.report.model_tables import model_tables
from raybench.report.node_tables import node_tables
from raybench.report.text import tuning_table
from raybench.results import results_folder
from raybench.results.records import UNEQUAL, ModelRecord, ModelVerification, ServerRecord

_OPEN_TIMELINES = 8  # more than that are folded away
_DASH = "–"


def write(folder: Path, summary: Summary) -> Path:
    """Renew a results folder's report.html and say where it is; raises ResultsError."""
    return results_folder.write_report(folder, page(results_folder.load(folder), summary))


def page(results: results_folder.Results, summary: Summary) -> str:
    """The page of a run."""
    names, row_names = figures.names(summary), result_table.row_names(summary)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ms": result_table.ms, "when": _when, "begun": _begun}
    sent = {trial.id for trial in summary.trials if trial.requests.attempted}
    trials = [trial_series(t) if t.record.id in sent else nothing_sent(t.record) for t in results.trials]
    timelines = list(figures.over_time(trials, summary, names))
    return environment.get_template("report.html.jinja").render(
        light=palette.css(palette.LIGHT),
        dark=palette.css(palette.DARK),
        run=summary.run,
        headline=headline(summary),
        title=result_table.title(summary),
        unit=units.common(cell.unit for cell in summary.cells),
        requests=sum(trial.requests.attempted for trial in summary.trials),
        failed=sum(trial.requests.failed for trial in summary.trials),
        verification=summary.verification,
        unequal=UNEQUAL,
        comparisons=[_compared(each, len(summary.comparisons)) for each in summary.comparisons],
        ratios=figures.ratios(summary, names),
        columns=result_table.columns(summary),
        minor=result_table.DROPPED_FIRST,
        measured=result_table.measure_words(summary),
        tables=_tables(summary),
        doubts=sentences.doubt_notes(summary),
        thresholds=[
            (each, sentences.outcome(each, sentences.loads(summary)[each.cell])) for each in summary.thresholds
        ],
        unmeasured=[cell for cell in summary.cells if cell.reason],
        by_node=node_tables(summary, row_names),
        by_model=model_tables(summary, row_names),
        costs=[
            *cost_tables(summary, row_names),
            *gpu_tables(summary, row_names),
            *client_tables(summary, row_names),
        ],
        bars=[] if summary.search else list(figures.bars(summary, names)),
        latencies=[] if summary.search else list(figures.latencies(trials, summary, names)),
        percentiles=list(_percentiles(summary, names)),
        timelines=timelines,
        are_timelines_open=len(timelines) <= _OPEN_TIMELINES,
        stages=figures.stages(summary, names),
        searches=[figures.searched(found, results.goal) for found in summary.search or ()],
        tuning=figures.tuned(summary.tuning) if summary.tuning else None,
        tuning_table=tuning_table(summary.tuning) if summary.tuning else None,
        answers=_answers(summary),
        facts=_facts(summary),
        packages=summary.environment.packages if summary.environment else {},
        damaged=summary.damaged,
        servers=_servers(summary),
        models=_models(summary),
        command=shlex.join(summary.run.command),
        benchmark=results.benchmark,
    )


def _tables(summary: Summary) -> list[tuple[str, list[tuple[CellSummary, tuple[str, ...]]]]]:
    """Of each model its rows as the terminal has them; the last value is the letters of its doubts."""
    return [
        (model, [(cell, result_table.row(cell, summary)) for cell in cells])
        for model, cells in groupby(summary.cells, key=lambda cell: cell.model)
    ]


def _compared(c: Comparison, judged: int) -> tuple[Comparison, str]:
    """A comparison, and what its rounds would have seen where none is shown."""
    if c.verdict != NO_DIFFERENCE or c.detectable is None:
        return c, ""
    return c, sentences.seen(c) + (f", among {judged} comparisons" if judged > 1 else "")


def _percentiles(summary: Summary, names: Mapping[str, str]) -> Iterator[tuple[TrialSummary, str, Latency]]:
    for trial in summary.trials:
        if latency := trial.response_ms or trial.service_ms:
            yield trial, names[trial.cell], latency


def _answers(summary: Summary) -> list[tuple[str, ModelVerification]]:
    """Of each server and model the comparison with TensorFlow that differs most."""
    compared = [(t.label, each) for t in summary.trials for each in (t.verification.models if t.verification else ())]
    worst: dict[tuple[str, str], tuple[str, ModelVerification]] = {}
    for label, each in sorted(compared, key=lambda pair: (-pair[1].nearest, pair[1].difference)):
        worst[label, each.model] = label, each
    return [worst[key] for key in sorted(worst)]


def _facts(summary: Summary) -> list[tuple[str, str]]:
    """On what it was measured."""
    there = summary.environment
    machine = (
        {
            "host": there.host,
            "system": there.os,
            "processor": there.cpu,
            "cores": there.cores,
            "memory": f"{there.memory_mib / 1024:.1f} GiB",
            "Ray's nodes": there.ray_cluster.nodes,
            "Python": there.python,
        }
        if there
        else {}
    )
    facts = {
        **machine,
        "started": _when(summary.run.started),
        "ended": _when(summary.run.ended) if summary.run.ended else "it has not ended",
    }
    return [(name, str(value)) for name, value in facts.items() if value is not None]


def _servers(summary: Summary) -> list[tuple[str, str, str]]:
    """Each server with its version, and its configuration as YAML."""
    found = {trial.label: trial.server for trial in summary.trials}
    return [(label, server.version or _DASH, _config(server)) for label, server in sorted(found.items())]


def _config(server: ServerRecord) -> str:
    effective = {"effective": asdict(server.effective)} if server.effective else {}
    return yaml.safe_dump({**(server.config or {}), **effective}, sort_keys=False).strip()


def _models(summary: Summary) -> list[ModelRecord]:
    return list({trial.model.name: trial.model for trial in summary.trials}.values())


def _begun(sentence: str) -> str:
    """With a capital letter, unless it begins with a name such as p99."""
    return sentence if sentence[1:2].isdigit() else sentence[:1].upper() + sentence[1:]


def _when(stamp: str) -> str:
    try:
        return f"{datetime.fromisoformat(stamp):%Y-%m-%d %H:%M} UTC"
    except ValueError:  # of a folder without checksums
        return stamp
