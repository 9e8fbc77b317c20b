"""What people call the items of a request: images where they are images, else inferences."""

from collections.abc import Iterable

IMAGES, INFERENCES = "images", "inferences"


def items(unit: str) -> str:
    """The word for several items, given what their rate is called."""
    return IMAGES if unit == IMAGES else "items"


def common(units: Iterable[str]) -> str:
    """The unit of several rows: images where all of them are."""
    found = set(units)
    return IMAGES if found <= {IMAGES} else INFERENCES
