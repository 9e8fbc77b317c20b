"""A doubt: kept apart from the checks that raise it, because the summaries carry it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Doubt:
    """A reason not to trust a number; `value` is what was found, `limit` the last value that raises no doubt."""

    code: str
    sentence: str
    remedy: str
    value: float | None = None
    limit: float | None = None
