"""Colours of the charts, by theme and by what they are for; lines differ by their dashes too.

Series colours are dark or light enough to stand out from the page (3 to 1, WCAG 1.4.11) and stay apart for eyes that
see no red, no green or no blue (tests/report/test_palette.py).
"""

from collections.abc import Mapping

LIGHT = {
    "page": "#ffffff", "ink": "#1b1f24", "muted": "#5c646e", "rule": "#e3e6ea", "shade": "#f1f3f5", "bad": "#b3261e",
    "s0": "#1349c4", "s1": "#eb5a12", "s2": "#29a27c", "s3": "#96296c", "s4": "#6c511a", "s5": "#657a90",
    "t0": "#3b1f6e", "t1": "#6a4bb0", "t2": "#9d85d6", "t3": "#c9bbea", "t4": "#868f9a",
}  # fmt: skip
DARK = {
    "page": "#14171b", "ink": "#e8eaed", "muted": "#a0a8b2", "rule": "#2e343b", "shade": "#1d2126", "bad": "#ff8a80",
    "s0": "#2878de", "s1": "#cf904a", "s2": "#6ddcd3", "s3": "#bb2f82", "s4": "#e7c24f", "s5": "#92a0ac",
    "t0": "#f0ebfb", "t1": "#c4b2ee", "t2": "#9678d3", "t3": "#5f3fa8", "t4": "#a7b0ba",
}  # fmt: skip
SERIES = tuple(name for name in LIGHT if name.startswith("s") and name[1:].isdigit())
STAGES = tuple(name for name in LIGHT if name.startswith("t") and name[1:].isdigit())  # of a server's time, in order
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.8), (7, 2, 1.5, 2), (3, 1.5), (9, 2.5))


def series(number: int) -> tuple[str, tuple[float, ...]]:
    """The colour's name and the dashes of the n-th server; each pair is there once among the first 36."""
    return SERIES[number % len(SERIES)], DASHES[(number + number // len(SERIES)) % len(DASHES)]


def css(colours: Mapping[str, str]) -> str:
    """The colours as custom properties."""
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
