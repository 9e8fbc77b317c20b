"""What the GPUs did while servers were measured, as a table of text."""

from collections.abc import Callable, Mapping
from statistics import fmean

from raybench.analysis import units
from raybench.analysis.plain_numbers import plain
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary
from raybench.report.cost_tables import ReportTable

_DASH = "–"


def gpu_tables(summary: Summary, names: Mapping[str, str]) -> list[ReportTable]:
    """A row for each cell of whose GPU something is known, by its name: means over the rounds that know it."""
    trials = {each.id: each for each in summary.trials}
    rows = [(names[cell.cell], *_values([trials[each] for each in cell.trials])) for cell in summary.cells]
    known = [row for row in rows if set(row[1:]) != {_DASH}]
    if summary.search is not None or not known:
        return []
    per_joule = f"{units.common(trial.unit for trial in summary.trials)}/J"
    columns = ("server", "utilization %", "power W", "SM clock MHz", "energy J", per_joule)
    return [ReportTable("The GPU in the window", columns, 1, known)]


def _values(trials: list[TrialSummary]) -> tuple[str, ...]:
    read = [trial.telemetry for trial in trials if trial.telemetry]
    return (
        _shown([each.gpu_utilization_pct for each in read], "{:.0f}".format),
        _shown([each.gpu_power_w for each in read], "{:.0f}".format),
        _shown([each.gpu_sm_clock_mhz for each in read], "{:.0f}".format),
        _shown([each.gpu_energy_j for each in read], "{:.0f}".format),
        _shown([trial.inferences_per_joule for trial in trials], plain),
    )


def _shown(values: list[float | None], form: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    return form(fmean(known)) if known else _DASH
