"""A summary and its samples -> the charts of the page, each with its heading and its legend."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from markupsafe import Markup

from raybench.analysis import units
from raybench.analysis.cells import CellSummary, Interval, counted
from raybench.analysis.comparisons import Comparison
from raybench.analysis.costs import ServerTime
from raybench.analysis.search.strategy import SearchResult
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary
from raybench.analysis.tuning.result import TuningResult
from raybench.config.plan import Load
from raybench.config.search_goal import Goal
from raybench.report import result_table, search_tables, tuning_tables
from raybench.report.html import charts, palette
from raybench.report.html.charts import ChartRow, Line, Saturation, Stacked, Tradeoff
from raybench.report.html.series import TrialSeries, distribution, tail

_STAGES = ("queue", "compute_input", "compute_infer", "compute_output")
_REST = "network and client"


class Key(NamedTuple):
    """An entry of a legend."""

    name: str
    colour: str
    dashes: str = ""


class Figure(NamedTuple):
    """A chart with what stands above and below it."""

    title: str
    svg: Markup
    keys: tuple[Key, ...] = ()


def names(summary: Summary) -> dict[str, str]:
    """What to call each cell beside its model: its server, and its load where the server is there under several."""
    load = {trial.cell: trial.load for trial in summary.trials}
    counts = Counter((cell.label, cell.model) for cell in summary.cells)
    return {
        cell.cell: cell.label if counts[cell.label, cell.model] == 1 else f"{cell.label}, {_load(load[cell.cell])}"
        for cell in summary.cells
    }


def _load(load: Load) -> str:
    sent = f"{load.offered_rps:g}/s" if load.offered_rps else f"{load.in_flight} in flight"
    return f"{sent} of {load.batch_size}"


def _series(summary: Summary, names: Mapping[str, str]) -> dict[str, int]:
    """The number of each cell's colour, the same in every chart; the loads of a search are one server's."""
    owner = {cell.cell: cell.label if summary.search else names[cell.cell] for cell in summary.cells}
    order = list(dict.fromkeys(owner.values()))
    return {cell: order.index(name) for cell, name in owner.items()}


def _key(number: int, name: str) -> Key:
    colour, dashes = palette.series(number)
    return Key(name, colour, " ".join(f"{dash * 1.7:g}" for dash in dashes))


def ratios(summary: Summary, names: Mapping[str, str]) -> Figure | None:
    """Every comparison of a run, in its order."""
    if not summary.comparisons:
        return None
    models, loads = ({getattr(c, key) for c in summary.comparisons} for key in ("model", "in_flight"))
    series = _series(summary, names)
    number = {cell.label: series[cell.cell] for cell in reversed(summary.cells)}
    rows = [
        ChartRow(
            name=each.server
            + (f", {each.in_flight} in flight" if len(loads) > 1 else "")
            + (f", {each.model}" if len(models) > 1 else ""),
            text=_ratio_text(each),
            series=number[each.server],
            value=each.ratio,
            low=each.low,
            high=each.high,
            is_shown=each.verdict in ("faster", "slower"),
        )
        for each in summary.comparisons
    ]
    bases = sorted({each.base for each in summary.comparisons})
    unit = units.common(each.unit for each in summary.comparisons)
    title = f"{unit}/s over those of {', '.join(bases)}"
    return Figure(title, _svg(charts.ratios, rows, label=title))


def _ratio_text(c: Comparison) -> str:
    return f"{c.ratio:.2f}" if c.low is None or c.high is None else f"{c.ratio:.2f}  [{c.low:.2f}, {c.high:.2f}]"


def bars(summary: Summary, names: Mapping[str, str]) -> Iterator[Figure]:
    """Throughput by server, a chart for each model."""
    series, by_id = _series(summary, names), {trial.id: trial for trial in summary.trials}
    for model, group in groupby(summary.cells, key=lambda cell: cell.model):
        cells = list(group)
        rows = [
            _bar(names[cell.cell], series[cell.cell], cell.inferences_per_s, [by_id[trial] for trial in cell.trials])
            for cell in cells
            if cell.inferences_per_s and cell.inferences_per_s.mean
        ]
        if rows:
            yield Figure(
                f"{model}, {cells[0].unit}/s",
                _svg(charts.bars, rows, label=f"{cells[0].unit} a second of {model} by server"),
            )


def _bar(name: str, number: int, rate: Interval, trials: list[TrialSummary]) -> ChartRow:
    """A mean with its rounds, and those that it leaves out."""
    are_in = {trial.id for trial in counted(trials)}
    rounds = [(trial.id in are_in, trial.throughput.inferences_per_s) for trial in trials if trial.throughput]
    return ChartRow(
        name=name,
        text=result_table.interval(rate, digits=1),
        series=number,
        value=rate.mean,
        low=rate.low,
        high=rate.high,
        points=tuple(each for is_in, each in rounds if is_in),
        left_out=tuple(each for is_in, each in rounds if not is_in),
    )


def latencies(trials: Sequence[TrialSeries], summary: Summary, names: Mapping[str, str]) -> Iterator[Figure]:
    """Distribution and tail for each model, batch size and rate."""
    ordered = {each.trial: each.latencies_ms for each in trials}
    load, series = {trial.cell: trial.load for trial in summary.trials}, _series(summary, names)

    def alike(cell: CellSummary) -> tuple[str, int, float]:
        return cell.model, load[cell.cell].batch_size, load[cell.cell].offered_rps or 0

    for (model, batch_size, rate), group in groupby(sorted(summary.cells, key=alike), key=alike):
        cells = [cell for cell in group if any(len(ordered[trial]) for trial in cell.trials)]
        if not cells:
            continue
        times = [[ordered[trial] for trial in cell.trials if len(ordered[trial])] for cell in cells]
        numbers = [series[cell.cell] for cell in cells]
        keys = tuple(_key(number, names[cell.cell]) for number, cell in zip(numbers, cells, strict=True))
        title = f"{model}, {f'{rate:g} requests/s of ' if rate else ''}{batch_size} {units.items(cells[0].unit)}"
        for chart, curve, how in ((charts.distributions, distribution, ""), (charts.tails, tail, ", by percentile")):
            lines = [Line(n, tuple(map(curve, each))) for n, each in zip(numbers, times, strict=True)]
            yield Figure(title + how, _svg(chart, lines, label=f"latency of {title}{how}"), keys)


def over_time(trials: Sequence[TrialSeries], summary: Summary, names: Mapping[str, str]) -> Iterator[Figure]:
    """A chart for each cell, its rounds one over the other."""
    series = _series(summary, names)
    for cell in summary.cells:
        if lines := [each.timeline for each in trials if each.cell == cell.cell and each.timeline]:
            title = f"{names[cell.cell]}, {cell.model}"
            yield Figure(
                title, _svg(charts.over_time, lines, series[cell.cell], cell.unit, label=f"over time: {title}")
            )


def stages(summary: Summary, names: Mapping[str, str]) -> Figure | None:
    """Where a request's time went, by the server's own statistics and the client's stamps."""
    rows = []
    for cell in summary.cells:
        times = [t.server_time_ms for t in summary.trials if t.id in cell.trials]
        if parts := [(*_parts(spent), spent.overhead) for spent in times if spent and spent.overhead is not None]:
            means = tuple(sum(each) / len(parts) for each in zip(*parts, strict=True))
            rows.append(Stacked(f"{names[cell.cell]}, {cell.model}", f"{result_table.ms(sum(means))} ms", means))
    if not rows:
        return None
    keys = (*(stage.replace("_", " ") for stage in _STAGES), _REST)
    legend = tuple(Key(name, colour) for name, colour in zip(keys, palette.STAGES, strict=True))
    return Figure("mean of a request", _svg(charts.stacks, rows, label="where the time of a request went"), legend)


def _parts(spent: ServerTime) -> tuple[float, ...]:
    """Milliseconds in each stage; what the server does not tell counts as rest."""
    return tuple(getattr(spent, stage) or 0.0 for stage in _STAGES)


def searched(found: SearchResult, goal: Goal | None) -> tuple[SearchResult, str, Figure, Any]:
    """What a search found, in a sentence, as a curve, and as a table: its columns and rows."""
    points = sorted(found.points, key=lambda point: (point.value, point.round))
    name = found.threshold.partition("<")[0] if found.threshold else None
    rates = {found.unit: [_nan(point.inferences_per_s) for point in points]}
    if found.threshold:
        rates = {"goodput: requests": [_nan(point.goodput_rps) for point in points]}
    drawn = Saturation(
        unit=search_tables.word(found),
        values=[point.value for point in points],
        verdicts=[point.verdict for point in points],
        latency=(name, [_nan(point.latency_ms) for point in points]) if name else None,
        limit_ms=goal.limit_ms if goal else None,
        rates=rates,
    )
    figure = Figure(search_tables.title(found), _svg(charts.saturation, drawn, label=search_tables.title(found)))
    return found, search_tables.headline(found), figure, (search_tables.columns(found), search_tables.rows(found))


def tuned(found: TuningResult) -> Figure | None:
    """What every configuration serves, by how long it takes; None where fewer than two have both."""
    name = "p99" if sum(each.p99_ms is not None for each in found.tried) > 1 else "p50"
    known = [(each, each.value, getattr(each, f"{name}_ms")) for each in found.tried]
    points = [(each.name, value, ms) for each, value, ms in known if value is not None and ms is not None]
    if len(points) < 2:
        return None
    names = [each for each, _, _ in points]
    drawn = Tradeoff(
        rate=tuning_tables.measure(found),
        latency=name,
        rates=[value for _, value, _ in points],
        latencies_ms=[ms for _, _, ms in points],
        best=names.index(found.winner) if found.winner in names else None,
        default=names.index(found.default) if found.default in names else None,
    )
    keys = (Key("best", palette.series(0)[0]), Key("default", palette.series(1)[0]))
    title = f"{name} by {tuning_tables.measure(found)}"
    return Figure(title, _svg(charts.tradeoff, drawn, label=title), keys)


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _svg(chart: Any, *values: Any, label: str) -> Markup:
    """What the charts draw is escaped there."""
    return Markup(chart(*values, label=label))
