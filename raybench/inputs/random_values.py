"""Seeded random values for inputs that are no images, each item another."""

from dataclasses import dataclass
from typing import Any

import numpy as np

# By Triton's names of datatypes; bfloat16, which numpy does not have, travels as float32 that it can hold.
NUMPY_TYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BF16": np.float32, "BYTES": np.object_,
}  # fmt: skip
_FLOATS = (0.0, 1.0)
_INTEGERS = (0, 100)  # the upper end is not reached
_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)


@dataclass(frozen=True)
class RandomValues:
    """Item i of an input is drawn from the seed, the input's name and i alone.

    Numbers lie in [low, high), text has `length` letters, or is `text` as it is.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]  # of an item
    seed: int
    low: float | None = None
    high: float | None = None
    length: int = 16
    text: str | None = None

    is_image = False

    @property
    def encoding(self) -> str:
        shape = f" {list(self.shape)}" if self.shape else ""
        if self.datatype == "BYTES":
            return f"text{shape}"
        low, high = self._bounds
        return f"{self.datatype.lower()}{shape} in [{low:g}, {high:g})"

    @property
    def item_bytes(self) -> int:
        each = self._text_bytes if self.datatype == "BYTES" else np.dtype(NUMPY_TYPES[self.datatype]).itemsize
        return max(1, int(np.prod(self.shape, dtype=np.int64)) * each)

    @property
    def distinct(self) -> int | None:
        """How many items may differ: all, but where the values leave fewer choices."""
        if self.text is not None:
            return 1
        return None

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """The values of items by number: [n, *shape]."""
        items = [self._item(int(number)) for number in numbers]
        made = np.empty((len(items), *self.shape), NUMPY_TYPES[self.datatype])
        for position, item in enumerate(items):
            made[position, ...] = item  # bytes themselves, where an item is a scalar
        return made

    def _item(self, number: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, *self.name.encode(), number))
        if self.datatype == "BYTES":
            return self._texts(rng)
        low, high = self._bounds
        if self.datatype == "BOOL":
            return rng.integers(0, 2, self.shape).astype(np.bool_)
        if "INT" in self.datatype:
            kind: Any = NUMPY_TYPES[self.datatype]
            return np.asarray(rng.integers(int(low), int(high), self.shape, kind))
        drawn = np.asarray(rng.uniform(low, high, self.shape))
        return to_bfloat16(drawn) if self.datatype == "BF16" else drawn

    @property
    def _bounds(self) -> tuple[float, float]:
        low, high = _INTEGERS if "INT" in self.datatype else _FLOATS
        return (low if self.low is None else self.low), (high if self.high is None else self.high)

    @property
    def _text_bytes(self) -> int:
        return len(self.text.encode()) if self.text is not None else self.length

    def _texts(self, rng: np.random.Generator) -> np.ndarray:
        made = np.empty(self.shape, object)
        for index in np.ndindex(self.shape):
            drawn = _LETTERS[rng.integers(0, len(_LETTERS), self.length)].tobytes()
            made[index] = drawn if self.text is None else self.text.encode()
        return made


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 whose lower 16 bits are 0: what bfloat16 holds of the values."""
    bits = np.asarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return np.asarray(bits.view(np.float32))
