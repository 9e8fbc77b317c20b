"""Numbers as sentences show them: rounded, and never in scientific notation; pure."""

from math import floor, isfinite, log10


def plain(value: float, digits: int = 3) -> str:
    """Rounded to so many significant digits, all of the digits before the point kept: 1290, 12.3, 0.00012."""
    if value == 0 or not isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """Such as "40 s", or "12 min" from 90 seconds on."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
