"""Requests that a server is sent before it is used."""

from dataclasses import dataclass

from raybench.inputs.tensors import Batch


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
