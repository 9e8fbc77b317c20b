"""Requests that a server is sent before it is used."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raybench.config import ConfigError
from raybench.inputs.batch_axis import items_of_a_request, on_the_wire
from raybench.inputs.source import InputSource
from raybench.inputs.tensors import Batch
from raybench.models.saved_models import read_signatures


@dataclass(frozen=True)
class WarmUp:
    """A request that a server is sent before it is used."""

    model: str
    signature: str
    batch: Batch

    @property
    def items(self) -> int:
        """Entries along axis 0, which are items where the signature takes batches."""
        first = next(iter(self.batch.values()))
        return len(first) if first.ndim else 1


def warm_up_calls(
    model: str, version: Path, batch_sizes: Sequence[int], source: InputSource, seed: int
) -> Iterator[WarmUp]:
    """A call of each signature of a SavedModel in each of these batch sizes, once where the signature has its own.

    Raises ConfigError for inputs that the source cannot make, and ValueError for a SavedModel that cannot be read.
    """
    for name, signature in sorted(read_signatures(version).items()):
        try:
            bound = source.bind(signature, seed)
        except ConfigError as error:
            raise ConfigError(f"signature is {name}; of model {model} {error}") from error
        fixed = items_of_a_request(signature)
        for items in [fixed] if fixed else dict.fromkeys(batch_sizes):
            yield WarmUp(model, name, on_the_wire(bound.batch(np.arange(items)), signature))
