"""What all charts have in common: their look, their axes, and SVG whose text is text and whose colours are the theme's.

Every chart is as wide as a phone, 360 px, so that its text is as large as that of the page wherever it stands.
"""

import io
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps fonts when HOME cannot be written to

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from raybench.report.html.palette import LIGHT

_WIDTH, _LEFT, _RIGHT, _BOTTOM = 360, 46, 10, 38  # px
_ROW = 46
_LABEL = 0.11  # of the width of a chart, which a label takes
LOG_FROM = 20  # times between the least and the greatest value, from which on an axis is logarithmic
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "raybench",
    "text.parse_math": False,
    "font.size": 11,
    "text.color": LIGHT["ink"],
    "axes.facecolor": "none",
    "axes.edgecolor": LIGHT["rule"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": 11,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.formatter.useoffset": False,
    "grid.color": LIGHT["rule"],
    "grid.linewidth": 0.8,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.major.size": 0,
    "xtick.major.pad": 6,
    "xtick.minor.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
}


def drawn(chart: Callable[..., Figure]) -> Callable[..., str]:
    """A function that makes a figure as one that gives its SVG, with a label for who cannot see it."""

    def svg(*values: Any, label: str) -> str:
        with matplotlib.rc_context({**_STYLE, "svg.hashsalt": label}):
            out = io.StringIO()
            chart(*values).savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        return _themed(out.getvalue(), label)

    return svg


def _themed(svg: str, label: str) -> str:
    """An SVG for the inside of a page: its colours and its font are the page's, and its ids are not ours to give."""
    (size,) = re.findall(r'viewBox="([^"]+)"', svg)
    _, _, body = svg.partition("</defs>")
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for name, colour in LIGHT.items():
        body = body.replace(f": {colour}", f": var(--{name})")
    return f'<svg viewBox="{size}" role="img" aria-label="{escape(label)}">{body}'


def panels(height: int, *, rows: Sequence[int] = (1,), left: int = _LEFT) -> tuple[Figure, list[Axes]]:
    """A figure with axes of so many parts of its height, one above the other."""
    figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72)
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=rows)[:, 0]
    figure.subplots_adjust(
        left=left / _WIDTH, right=1 - _RIGHT / _WIDTH, bottom=_BOTTOM / height, top=1 - 24 / height, hspace=0.42
    )
    for each in axes:
        each.grid(visible=False, axis="x")
    return figure, list(axes)


def row_axes(count: int) -> tuple[Figure, list[Axes]]:
    """Axes with so many rows, each with room for its name above what is drawn."""
    height = count * _ROW + 26
    figure, axes = panels(height, left=10)
    figure.subplots_adjust(bottom=24 / height, top=1 - 2 / height)
    axes[0].set_ylim(count - 0.5 + 0.02, -0.5)
    axes[0].set_yticks([])
    return figure, axes


def ms_axis(axes: Axes, values: Iterable[np.ndarray], *, is_vertical: bool) -> None:
    """Milliseconds from 0, or on a logarithmic axis where the values lie far apart."""
    seen = np.concatenate(list(values))
    seen = seen[np.isfinite(seen) & (seen > 0)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.1, 1.0)
    scale, limits, axis = (
        (axes.set_yscale, axes.set_ylim, axes.yaxis) if is_vertical else (axes.set_xscale, axes.set_xlim, axes.xaxis)
    )
    if high < LOG_FROM * low:
        limits(0, high * 1.05)
        axes.locator_params(axis="y" if is_vertical else "x", nbins=5)
    else:
        scale("log")
        limits(low / 1.15, high * 1.15)
        axis.set_major_locator(FixedLocator(_steps(low, high)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(plain))
    if not is_vertical:
        axes.set_xlabel("ms")
        axes.grid(visible=True, axis="x")


def _steps(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten, or the powers alone where they are many."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    inner = (1, 2, 5) if high / low < 300 else (1,)
    return [power * n for power in powers for n in inner if low / 1.1 <= power * n <= high * 1.1]


def spaced(ticks: Iterable[float], low: float, high: float) -> list[float]:
    """Those ticks of a logarithmic axis whose labels do not touch, the ones nearest to 1 first."""
    kept: list[float] = []
    for tick in sorted({tick for tick in ticks if low <= tick <= high}, key=lambda tick: abs(np.log(tick))):
        if all(abs(np.log(tick / other)) >= _LABEL * np.log(high / low) for other in kept):
            kept.append(tick)
    return kept


def plain(value: float, _: object) -> str:
    """12000 as 12k."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
