"""Requests that a server is sent before it is used."""

from dataclasses import dataclass

from raybench.inputs.tensors import Batch


@dataclass(frozen=True)
class WarmUp:
    """A request that a server is sent before it is used."""

    model: str
    signature: str
    batch: Batch
