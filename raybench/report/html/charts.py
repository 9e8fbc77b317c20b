"""The charts of report.html: values -> SVG."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from raybench.report.html import canvas, palette
from raybench.report.html.palette import LIGHT
from raybench.report.html.series import Curve, Timeline

_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)
_NINES = {0: "0 %", 1: "90 %", 2: "99 %", 3: "99.9 %", 4: "99.99 %", 5: "99.999 %", 6: "99.9999 %"}


class ChartRow(NamedTuple):
    """A value with its interval and its replicates, and those that are not in it, under a name; `series` is the number
    of its colour."""

    name: str
    text: str
    series: int
    value: float
    low: float | None = None
    high: float | None = None
    points: tuple[float, ...] = ()
    left_out: tuple[float, ...] = ()
    is_shown: bool = True  # whether a difference is


class Line(NamedTuple):
    """One cell of a chart: a curve for each round."""

    series: int
    curves: tuple[Curve, ...]


class Stacked(NamedTuple):
    """A bar of parts, in the order of the stages' colours."""

    name: str
    text: str
    parts: tuple[float, ...]


class Saturation(NamedTuple):
    """Points of a search in order of `values`; NaN is not known. `limit_ms` is None where there is no latency."""

    unit: str
    values: Sequence[float]
    verdicts: Sequence[str]
    latency: tuple[str, Sequence[float]] | None
    limit_ms: float | None
    rates: Mapping[str, Sequence[float]]


@canvas.drawn
def ratios(rows: Sequence[ChartRow]) -> Figure:
    """Ratios with their intervals around 1, on a logarithmic axis; hollow where no difference is shown."""
    figure, (axes,) = canvas.row_axes(len(rows))
    seen = [value for row in rows for value in (row.value, row.low, row.high, 1.0) if value is not None]
    low, high = min(seen) / 1.06, max(seen) * 1.06
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(canvas.spaced(_RATIOS, low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    for at, row in enumerate(rows):
        _name(axes, at, row.name, row.text)
        axes.vlines(1, at + 0.02, at + 0.34, color=LIGHT["muted"], linewidth=1.2)
        colour, _ = palette.series(row.series)
        _interval(axes, at + 0.18, row, LIGHT[colour])
        face = LIGHT[colour] if row.is_shown else LIGHT["page"]
        axes.plot(row.value, at + 0.18, "o", markersize=8, color=LIGHT[colour], markerfacecolor=face, mew=1.7)
    return figure


@canvas.drawn
def bars(rows: Sequence[ChartRow]) -> Figure:
    """Bars from 0 with an interval, and below them a dot for each round, hollow where it is left out."""
    figure, (axes,) = canvas.row_axes(len(rows))
    axes.set_xlim(0, max((max(row.value, row.high or 0, *row.points, *row.left_out) for row in rows), default=1) * 1.04)
    axes.grid(visible=True, axis="x")
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(FuncFormatter(canvas.plain))
    for at, row in enumerate(rows):
        _name(axes, at, row.name, row.text)
        colour, _ = palette.series(row.series)
        axes.barh(at + 0.15, row.value, 0.28, color=LIGHT[colour], alpha=0.8)
        _interval(axes, at + 0.15, row, LIGHT["ink"])
        for points, face in ((row.points, LIGHT[colour]), (row.left_out, LIGHT["page"])):
            at_each = [at + 0.4] * len(points)
            axes.plot(points, at_each, "o", markersize=3.8, color=LIGHT[colour], markerfacecolor=face, mew=0.8)
    return figure


@canvas.drawn
def stacks(rows: Sequence[Stacked]) -> Figure:
    """Bars of parts one after the other, from 0."""
    figure, (axes,) = canvas.row_axes(len(rows))
    axes.set_xlim(0, max(sum(row.parts) for row in rows) * 1.04)
    axes.grid(visible=True, axis="x")
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} ms"))
    for at, row in enumerate(rows):
        _name(axes, at, row.name, row.text)
        start = 0.0
        for part, colour in zip(row.parts, palette.STAGES, strict=False):
            axes.barh(at + 0.18, part, 0.34, left=start, color=LIGHT[colour], edgecolor=LIGHT["page"], linewidth=0.8)
            start += part
    return figure


@canvas.drawn
def distributions(lines: Sequence[Line]) -> Figure:
    """The share of requests by the time they took at most."""
    figure, (axes,) = canvas.panels(250)
    for line in lines:
        for curve in line.curves:
            axes.plot(curve.ms, 100 * curve.share, **_stroke(line.series, len(line.curves)))
    axes.set_ylim(0, 102)
    axes.set_title("requests answered within, %")
    canvas.ms_axis(axes, [curve.ms for line in lines for curve in line.curves], is_vertical=False)
    return figure


@canvas.drawn
def tails(lines: Sequence[Line]) -> Figure:
    """Latency by percentile, each nine as wide as the one before."""
    figure, (axes,) = canvas.panels(250)
    for line in lines:
        for curve in line.curves:
            axes.plot(-np.log10(1 - curve.share), curve.ms, **_stroke(line.series, len(line.curves)))
    axes.set_title("latency, ms")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(FixedLocator(list(_NINES)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _NINES.get(round(value), "")))
    axes.grid(visible=True, axis="x")
    axes.set_xlabel("percentile")
    canvas.ms_axis(axes, [curve.ms for line in lines for curve in line.curves], is_vertical=True)
    return figure


@canvas.drawn
def over_time(rounds: Sequence[Timeline], series: int, unit: str) -> Figure:
    """Throughput, latency and memory of a cell by time, a line for each round; warm-up is shaded."""
    has_memory = any(each.memory for each in rounds)
    figure, axes = canvas.panels(330 if has_memory else 250, rows=(3, 3, 2)[: 3 if has_memory else 2])
    stroke = _stroke(series, len(rounds), dashes=False)
    for each in rounds:
        axes[0].plot(each.at_s, each.inferences_per_s, **stroke)
        axes[1].plot(each.at_s, each.median_ms, **stroke)
        axes[1].fill_between(each.at_s, each.fastest_ms, each.slowest_ms, color=stroke["color"], alpha=0.16, lw=0)
        axes[1].plot(each.failed_s, [0.02] * len(each.failed_s), "|", color=LIGHT["bad"], markersize=9,
                     transform=axes[1].get_xaxis_transform(), clip_on=False)  # fmt: skip
        for name, (at_s, mib) in each.memory.items():
            axes[2].plot(at_s, mib, **{**stroke, "dashes": () if name == "RSS" else (4, 2)})
    axes[0].set_title(f"{unit}/s")
    axes[1].set_title("latency, ms: median, and fastest to slowest")
    axes[0].set_ylim(bottom=0)
    axes[0].yaxis.set_major_formatter(FuncFormatter(canvas.plain))
    spread = [values for each in rounds for values in (each.fastest_ms, each.slowest_ms)]
    canvas.ms_axis(axes[1], spread, is_vertical=True)
    if has_memory:
        names = sorted({name.partition(" ")[0] for each in rounds for name in each.memory}, reverse=True)
        axes[2].set_title("memory, MiB" + (": RSS, and GPU dashed" if len(names) > 1 else f": {names[0]}"))
        axes[2].set_ylim(bottom=0)
        axes[2].yaxis.set_major_formatter(FuncFormatter(canvas.plain))
    first_s = min(0.0, *(float(each.at_s[0]) for each in rounds))
    for panel in axes:
        panel.set_xlim(first_s, max(float(each.at_s[-1]) for each in rounds))
        panel.axvspan(first_s, 0, color=LIGHT["shade"], zorder=0, lw=0)
        if panel.get_yscale() == "linear":
            panel.locator_params(axis="y", nbins=2 if panel is axes[-1] and has_memory else 4)
    axes[-1].locator_params(axis="x", nbins=6)
    axes[-1].set_xlabel("seconds; warm-up is shaded")
    axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return figure


class Tradeoff(NamedTuple):
    """Configurations by what they serve and how long they take; `best` is the position of the winner."""

    rate: str
    latency: str
    rates: Sequence[float]
    latencies_ms: Sequence[float]
    best: int | None
    default: int | None


@canvas.drawn
def tradeoff(found: Tradeoff) -> Figure:
    """Latency by rate, with the line of those that no other beats in both."""
    figure, (axes,) = canvas.panels(300, rows=(1,))
    rates, latencies = np.array(found.rates), np.array(found.latencies_ms)
    axes.plot(rates, latencies, "o", color=LIGHT["muted"], markersize=5)
    front = pareto(found.rates, found.latencies_ms)
    axes.plot(rates[front], latencies[front], color=LIGHT[palette.series(0)[0]], drawstyle="steps-post")
    for at, number in ((found.default, 1), (found.best, 0)):
        if at is not None:
            axes.plot(rates[at], latencies[at], "o", color=LIGHT[palette.series(number)[0]], markersize=9)
    axes.set_title(f"{found.latency}, ms")
    axes.set_xlabel(found.rate)
    canvas.ms_axis(axes, [latencies], is_vertical=True)
    axes.xaxis.set_major_formatter(FuncFormatter(canvas.plain))
    return figure


def pareto(rates: Sequence[float], latencies_ms: Sequence[float]) -> list[int]:
    """The positions, by rising rate, of those that no other beats in both rate and latency."""
    front, best_ms = list[int](), float("inf")
    for at in sorted(range(len(rates)), key=lambda at: (-rates[at], latencies_ms[at])):
        if latencies_ms[at] < best_ms:
            front.append(at)
            best_ms = latencies_ms[at]
    return front[::-1]


@canvas.drawn
def saturation(found: Saturation) -> Figure:
    """Latency and rates by the load of a search; a cross is a load that did not hold."""
    figure, axes = canvas.panels(330 if found.latency else 200, rows=(1, 1) if found.latency else (1,))
    if found.latency:
        name, latency_ms = found.latency
        _marked(axes[0], found, latency_ms, 1)
        axes[0].set_title(f"{name}, ms")
        canvas.ms_axis(axes[0], [np.array(latency_ms), np.array([found.limit_ms])], is_vertical=True)
        if found.limit_ms:
            axes[0].axhline(found.limit_ms, color=LIGHT["bad"], linewidth=1.2, dashes=(4, 3))
    for number, rates in enumerate(found.rates.values()):
        _marked(axes[-1], found, rates, 2 * number)
    axes[-1].set_title(", and dashed ".join(found.rates) + " a second")
    axes[-1].set_ylim(bottom=0)
    axes[-1].yaxis.set_major_formatter(FuncFormatter(canvas.plain))
    axes[-1].set_xlabel(found.unit)
    least, most = min(found.values), max(found.values)
    if most >= canvas.LOG_FROM * least:
        axes[-1].set_xscale("log")
        axes[-1].xaxis.set_minor_locator(NullLocator())
        axes[-1].xaxis.set_major_locator(FixedLocator(canvas.spaced(found.values, least, most)))
    axes[-1].xaxis.set_major_formatter(FuncFormatter(canvas.plain))
    return figure


def _marked(axes: Axes, found: Saturation, values: Sequence[float], series: int) -> None:
    """A line through the points that held, with what became of each."""
    at, seen, is_held = np.array(found.values), np.array(values, float), np.array(found.verdicts) == "held"
    colour = LIGHT[palette.series(series)[0]]
    axes.plot(at[is_held], seen[is_held], "o", color=colour, markersize=5)
    axes.plot(at[~is_held], seen[~is_held], "x", color=colour, markersize=6, mew=1.7)
    order = [value for value in dict.fromkeys(found.values) if np.isfinite(seen[at == value]).any()]
    means = [np.nanmean(seen[at == value]) for value in order]
    axes.plot(order, means, color=colour, alpha=0.6, dashes=(5, 2) if series > 1 else ())


def _name(axes: Axes, at: float, name: str, text: str) -> None:
    across = axes.get_yaxis_transform()
    axes.text(0, at - 0.18, name, transform=across, va="center")
    axes.text(1, at - 0.18, text, transform=across, va="center", ha="right", color=LIGHT["muted"])


def _interval(axes: Axes, at: float, row: ChartRow, colour: str) -> None:
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [at, at], color=colour, linewidth=2.2, solid_capstyle="butt")


def _stroke(series: int, rounds: int, *, dashes: bool = True) -> dict[str, Any]:
    """How the lines of a server look; those of many rounds are thinner."""
    colour, pattern = palette.series(series)
    many = rounds > 1
    stroke = {"color": LIGHT[colour], "alpha": 0.65 if many else 1.0, "linewidth": 1.2 if many else 1.7}
    return {**stroke, "dashes": pattern} if dashes else stroke
