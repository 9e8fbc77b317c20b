"""How long a server that raybench started took until it could be used."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True, kw_only=True)
class StartTimes:
    """Seconds of time.monotonic, in the process that spawned the server.

    `ready_s` runs from just before the process was spawned until the server said ready and raybench had made its
    warm-up calls; `warm_up_s` is the part of it in which these calls were made, None where the server does not say.
    """

    ready_s: float
    warm_up_s: float | None


def once(start: StartTimes) -> Callable[[], StartTimes | None]:
    """Gives it at the first call, and None from then on: only one trial meets a cold server."""
    return partial(next, iter((start,)), None)


def covered_s(spans: Iterable[Sequence[float]]) -> float:
    """The time that spans (begin, end) cover together; what several of them cover counts once."""
    total_s, until_s = 0.0, -math.inf
    for begin_s, end_s in sorted(map(tuple, spans)):
        total_s += max(0.0, end_s - max(begin_s, until_s))
        until_s = max(until_s, end_s)
    return total_s
