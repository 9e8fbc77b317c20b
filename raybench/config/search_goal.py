"""What a search is asked to find."""

from dataclasses import dataclass

OOM, LATENCY = "until_oom", "latency"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is searched for: the last of `steps`, and of what lies between two, that holds.

    `kind` is until_oom or latency; a latency search has a `percentile` that must stay under `limit_ms`.
    `is_adaptive`: a step lasts as long as its rate needs, and not as the user asked. A value at the boundary is
    measured `repeats` times (None: as often as its kind needs), and the boundary is known to a factor of `gap`.
    """

    kind: str
    variable: str
    steps: tuple[float, ...]
    percentile: str | None = None
    limit_ms: float | None = None
    is_adaptive: bool = False
    repeats: int | None = None
    gap: float = 1.05

    @property
    def threshold(self) -> str | None:
        """Such as p99<100ms."""
        return f"{(self.percentile or '').replace('_', '.')}<{self.limit_ms:g}ms" if self.limit_ms else None
