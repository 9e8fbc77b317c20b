"""Two things measured in the same rounds -> the ratio of one to the other, with its interval."""

from collections.abc import Sequence
from math import exp, log

from raybench.analysis.cells import Interval, interval


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> Interval | None:
    """The geometric mean of `over` / `under` by round and its 95 % interval, Student's t on the logarithms.

    None without a round; the bounds are None with one.
    """
    found = interval(log(one / other) for one, other in zip(over, under, strict=True))
    if found is None:
        return None
    low, high = (None if bound is None else exp(bound) for bound in (found.low, found.high))
    return Interval(mean=exp(found.mean), low=low, high=high, rounds=found.rounds)


def written(ratio: Interval | None) -> tuple[str, str]:
    """The ratio and its interval, as a table has them."""
    if ratio is None:
        return "–", "–"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.mean:.3f}", "– (one round)"
    return f"{ratio.mean:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}"
