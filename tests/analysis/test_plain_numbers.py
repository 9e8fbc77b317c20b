"""Numbers in sentences."""

import pytest

from raybench.analysis.plain_numbers import plain


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1290.4, 3, "1290"),
        (1_234_567.0, 4, "1234567"),
        (12.345, 3, "12.3"),
        (100.0, 3, "100"),
        (0.00001234, 3, "0.0000123"),
        (0.0, 3, "0"),
        (-299.0, 3, "-299"),
        (float("inf"), 3, "inf"),
    ],
)
def test_a_number_is_rounded_and_never_scientific(value: float, digits: int, text: str) -> None:
    """A number has so many significant digits, and all of those before its point."""
    assert plain(value, digits) == text
