"""The seam for inputs: a source is what the user named; bound to a signature and a seed it makes batches."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

from raybench.inputs.tensors import Batch
from raybench.models.saved_models import Accepted, Signature

ASSUMED = "assumed"  # in the encoding of images whose range nobody says


class TensorSource(Protocol):
    """Makes the values of one input, item by item. Frozen, so it travels."""

    @property
    def encoding(self) -> str:
        """What represents an item in a request, such as uint8 NHWC."""

    @property
    def is_image(self) -> bool: ...

    @property
    def item_bytes(self) -> int:
        """The most bytes that an item takes in a request."""

    @property
    def distinct(self) -> int | None:
        """How many items differ; None without a limit."""

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """The values of items by number, int64 [n]: an array with an entry for each along axis 0."""


class BoundSource(Protocol):
    """Makes the items that one signature takes: item i from the source, the seed and i alone. Frozen, so it travels."""

    @property
    def source(self) -> str:
        """Where items come from, as the user named it."""

    @property
    def encoding(self) -> str:
        """What represents an item in a request, such as uint8 NHWC."""

    @property
    def unit(self) -> str:
        """What people call an item: images or inferences."""

    @property
    def signature(self) -> Signature: ...

    @property
    def item_bytes(self) -> int:
        """The most bytes that an item takes in a request."""

    @property
    def distinct(self) -> int | None:
        """How many items differ; None without a limit."""

    def batch(self, numbers: np.ndarray) -> Batch:
        """The items of these numbers, int64 [n]."""


class InputSource(Protocol):
    """What the user named. Frozen, so it travels."""

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> tuple[str, ...]:
        """The files that items are read from; none where they are made."""

    def only(self, files: tuple[str, ...]) -> "InputSource":
        """The source without the files that cannot be read."""

    def check(self, signatures: Iterable[Signature]) -> None:
        """Raise ConfigError where the user names an input that none of a run's signatures has."""

    def alternatives(self, signature: Signature) -> Mapping[str, tuple[Accepted, ...]]:
        """By input, the values that are made for it and that a model may refuse, and those to try in their place, from
        the widest; one alone where the user chose it."""

    def bind(self, signature: Signature, seed: int) -> BoundSource:
        """The source for one signature; raises ConfigError, which says what does not fit, and the remedy."""
