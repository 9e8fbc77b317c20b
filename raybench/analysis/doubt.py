"""A doubt: it lies below the summaries that carry it, and apart from the checks that raise it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Doubt:
    """A reason not to trust a number; `value` is what was found, `limit` what would not have been doubted."""

    code: str
    sentence: str
    remedy: str
    value: float | None = None
    limit: float | None = None
