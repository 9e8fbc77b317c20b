"""Seeded random values for inputs that are no images, each item another as far as the values allow."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.inputs import enumeration, random_texts
from raybench.inputs.random_texts import TEXT

# By Triton's names of datatypes; bfloat16, which numpy does not have, travels as float32 that it can hold.
NUMPY_TYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BF16": np.float32, "BYTES": np.object_,
}  # fmt: skip
TEXT_LENGTH = 16
_FLOATS = (0.0, 1.0)
INTEGERS = (0, 100)  # the upper end is not reached
_BOOLEANS = (0, 2)


@dataclass(frozen=True)
class RandomValues:
    """Item i of an input is made from the seed, the input's name and i alone.

    Numbers lie in [low, high); strings have a form and `length` letters, or are `text` as it is.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]  # of an item
    seed: int
    low: float | None = None
    high: float | None = None
    length: int = TEXT_LENGTH
    text: str | None = None
    form: str = TEXT

    is_image = False

    @property
    def encoding(self) -> str:
        shape = f" {list(self.shape)}" if self.shape else ""
        if self.datatype == "BYTES":
            return f"{self.form if self.text is None else 'the text given'}{shape}"
        if self.datatype == "BOOL" and self._choices > 1:
            return f"bool{shape}"
        low, high = self._bounds
        if self._is_discrete and high - low == 1:
            return f"{self.datatype.lower()}{shape} of {low:g}"
        return f"{self.datatype.lower()}{shape} in [{low:.12g}, {high:.12g})"

    @property
    def item_bytes(self) -> int:
        return max(1, self._values * self._value_bytes)

    @property
    def distinct(self) -> int | None:
        """How many items differ at most; None where they hardly ever are alike."""
        if self.text is not None:
            return 1
        if self.datatype == "BYTES":
            space = random_texts.choices(self.form, self.length)
        else:
            space = self._choices if self._is_discrete else None
        if space is None or (space > 1 and self._values > enumeration.LARGEST.bit_length()):
            return None
        size = int(space) ** self._values
        return size if size <= enumeration.LARGEST else None

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """The values of items by number: [n, *shape]."""
        made = np.empty((len(numbers), *self.shape), NUMPY_TYPES[self.datatype])
        for position, number in enumerate(numbers):
            made[position, ...] = self._item(int(number))  # without the dots a string would be an array in an array
        return made

    def _item(self, number: int) -> np.ndarray:
        if self.text is not None:
            return self._strings([self.text.encode()] * self._values)
        if (size := self.distinct) is not None:
            return self._chosen(enumeration.shuffled(number, size, self._seed))
        rng = np.random.default_rng((*self._seed, number))
        if self.datatype == "BYTES":
            return self._strings([random_texts.drawn(self.form, self.length, rng) for _ in range(self._values)])
        return self._drawn(rng)

    def _chosen(self, value: int) -> np.ndarray:
        """An item of a space that is small enough to go through."""
        if self.datatype == "BYTES":
            each = random_texts.choices(self.form, self.length) or 1
            chosen = enumeration.digits(value, each, self._values)
            return self._strings([random_texts.chosen(self.form, self.length, digit) for digit in chosen])
        chosen = enumeration.digits(value, self._choices, self._values)
        numbers = [int(self._bounds[0]) + digit for digit in chosen]
        return np.array(numbers, NUMPY_TYPES[self.datatype]).reshape(self.shape)

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        low, high = self._bounds
        if self._is_discrete:
            kind: Any = NUMPY_TYPES[self.datatype]
            return np.asarray(rng.integers(int(low), int(high), self.shape, kind))
        drawn = np.asarray(rng.uniform(low, high, self.shape))
        return to_bfloat16(drawn) if self.datatype == "BF16" else drawn

    def _strings(self, values: list[bytes]) -> np.ndarray:
        made = np.empty(len(values), object)
        made[:] = values
        return made.reshape(self.shape)

    @property
    def _seed(self) -> tuple[int, ...]:
        return (self.seed, *self.name.encode())

    @property
    def _values(self) -> int:
        """Of an item."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def _is_discrete(self) -> bool:
        return self.datatype == "BOOL" or "INT" in self.datatype

    @property
    def _choices(self) -> int:
        return int(self._bounds[1]) - int(self._bounds[0])

    @property
    def _bounds(self) -> tuple[float, float]:
        low, high = _BOOLEANS if self.datatype == "BOOL" else INTEGERS if self._is_discrete else _FLOATS
        return (low if self.low is None else self.low), (high if self.high is None else self.high)

    @property
    def _value_bytes(self) -> int:
        if self.datatype != "BYTES":
            return np.dtype(NUMPY_TYPES[self.datatype]).itemsize
        return len(self.text.encode()) if self.text is not None else random_texts.most_bytes(self.form, self.length)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 whose lower 16 bits are 0: what bfloat16 holds of the values."""
    bits = np.asarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return np.asarray(bits.view(np.float32))
