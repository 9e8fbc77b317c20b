"""Inputs of which files fill some, all of it in memory: which item is which row, and what is expected of it."""

from dataclasses import dataclass, field, replace

import numpy as np

from raybench.inputs.declared_inputs import BoundInputs
from raybench.inputs.stored_items import EXAMPLES, SkippedRows, StoredValues
from raybench.inputs.tensors import Batch
from raybench.models.saved_models import Signature


@dataclass(frozen=True)
class StoredInputs:
    """Inputs of which files fill some; `picks` are the items that are sent, None for all. Equal ones send the same."""

    inputs: BoundInputs
    skipped: tuple[SkippedRows, ...] = field(default=(), compare=False)
    expected: tuple[Batch, ...] | None = field(default=None, compare=False, repr=False)
    picks: tuple[int, ...] | None = None

    @property
    def source(self) -> str:
        return self.inputs.source

    @property
    def encoding(self) -> str:
        return self.inputs.encoding

    @property
    def unit(self) -> str:
        return self.inputs.unit

    @property
    def signature(self) -> Signature:
        return self.inputs.signature

    @property
    def item_bytes(self) -> int:
        return self.inputs.item_bytes

    @property
    def distinct(self) -> int | None:
        if self.picks is not None:
            return len(self.picks)
        counts = [part.distinct for _, part in self.inputs.parts]
        return None if None in counts else max(count for count in counts if count is not None)

    def batch(self, numbers: np.ndarray) -> Batch:
        """The items of these numbers; an optional input is left out where the first of them leaves it out."""
        numbers = self._picked(numbers)
        first = int(numbers[0])
        return {
            name: part.values(numbers)
            for name, part in self.inputs.parts
            if not isinstance(part, StoredValues) or part.form(first) is not None
        }

    def answers(self, numbers: np.ndarray) -> list[Batch] | None:
        """The outputs that the file expects of these items; None where it expects none."""
        if self.expected is None:
            return None
        return [self.expected[number % len(self.expected)] for number in self._picked(numbers).tolist()]

    def alike(self) -> "StoredInputs":
        """The items that one request can hold several of: those of the first one's shapes; the others are skipped."""
        parts = [part for _, part in self.inputs.parts if isinstance(part, StoredValues)]
        if all(isinstance(part.column, np.ndarray) for part in parts):
            return self
        count = max(part.distinct for part in parts)
        forms = [tuple(part.form(number) for part in parts) for number in range(count)]
        picks = tuple(number for number, form in enumerate(forms) if form == forms[0])
        reasons = tuple(
            f"row {number}: its shapes are not those of row 0 (only -b 1 sends them)"
            for number, form in enumerate(forms)
            if form != forms[0]
        )
        skipped = SkippedRows(self.source, len(reasons), count, reasons[:EXAMPLES])
        return replace(self, picks=picks, skipped=(*self.skipped, skipped)) if reasons else self

    def _picked(self, numbers: np.ndarray) -> np.ndarray:
        return (
            np.asarray(numbers) if self.picks is None else np.array(self.picks)[np.asarray(numbers) % len(self.picks)]
        )
