"""What each of several mixed models took, as a table of text."""

from collections.abc import Mapping

from raybench.analysis.by_model import ModelLoad
from raybench.analysis.cells import counted, mean
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary
from raybench.report.cost_tables import ReportTable
from raybench.report.result_table import ms

_COLUMNS = ("server", "model", "p50 ms", "p90 ms", "p99 ms", "ok", "failed")


def model_tables(summary: Summary, names: Mapping[str, str]) -> list[ReportTable]:
    """A row for each model of each cell whose requests were mixed; nothing where none were."""
    rows = [
        row
        for cell in summary.cells
        for row in _rows(names[cell.cell], [trial for trial in summary.trials if trial.id in cell.trials])
    ]
    return [ReportTable("latency by model", _COLUMNS, 2, rows)] if rows else []


def _rows(name: str, rounds: list[TrialSummary]) -> list[tuple[str, ...]]:
    """Percentiles are means over the rounds that the table counts, requests are of all rounds."""
    models = dict.fromkeys(each.model for trial in rounds for each in trial.by_model)
    good = counted(rounds)
    return [
        (
            name,
            model,
            *(_percentile(percentile, [_of(model, trial) for trial in good]) for percentile in ("p50", "p90", "p99")),
            str(sum(each.requests.succeeded for trial in rounds if (each := _of(model, trial)))),
            str(sum(each.requests.failed for trial in rounds if (each := _of(model, trial)))),
        )
        for model in models
    ]


def _of(model: str, trial: TrialSummary) -> ModelLoad | None:
    return next((each for each in trial.by_model if each.model == model), None)


def _percentile(name: str, rounds: list[ModelLoad | None]) -> str:
    return ms(mean(getattr(each.latency_ms, name, None) if each else None for each in rounds))
