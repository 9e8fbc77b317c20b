"""Items of a small space, each another until all have been: numbers of items -> numbers of values."""

from math import gcd, lcm

import numpy as np

LARGEST = 2**53  # of a space that is gone through; of a larger one items are drawn, and hardly ever two alike
_MOST = 2**63  # an int64


def shuffled(number: int, size: int, seed: tuple[int, ...]) -> int:
    """The value in [0, size) that an item has: another for each of `size` items in a row."""
    rng = np.random.default_rng(seed)
    start, stride = int(rng.integers(size)), int(rng.integers(size)) | 1
    while gcd(stride, size) > 1:
        stride += 2 if size % 2 == 0 else 1
    return (start + stride * number) % size


def digits(value: int, radix: int, count: int) -> list[int]:
    """So many digits of a value, the lowest first."""
    found = []
    for _ in range(count):
        value, digit = divmod(value, radix)
        found.append(digit)
    return found


def combined(numbers: np.ndarray, sizes: list[int | None]) -> list[np.ndarray]:
    """For each input, whose values repeat after so many items, the numbers by which all pairs of values come to pass.

    Two inputs of 10 values each, counted alike, would make 10 items and not 100.
    """
    found, period = list[np.ndarray](), 1
    for size in sizes:
        if size is None:
            found.append(numbers)
            continue
        common = lcm(period, size)
        found.append(numbers + numbers // common if period > 1 and common < _MOST else numbers)
        period *= size
    return found
