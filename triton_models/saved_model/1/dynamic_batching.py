"""Requests of one execute() -> batches, each answered by one TensorFlow call; pure, no TensorFlow, no Triton."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gpu_inputs import GpuInput, Input


class SignatureKey(NamedTuple):
    """Names one callable among those of all models and versions."""

    model: str
    version: int
    signature: str

    def __str__(self) -> str:
        """As errors name it; clients rarely name a version."""
        return f"{self.model}/{self.signature}"


@dataclass(frozen=True, eq=False)
class ParsedRequest:
    """What one request asks for: a signature's inputs, each without Triton's leading element, and the wanted outputs.

    `position` is its place in execute().
    """

    position: int
    key: SignatureKey
    inputs: dict[str, Input]
    outputs: frozenset[str]

    @property
    def items(self) -> int:
        """Entries along axis 0."""
        return len(next(iter(self.inputs.values())))

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Requests of equal key can be concatenated: same signature, dtypes and trailing shapes."""
        return (self.key, *((name, a.dtype.str, a.shape[1:]) for name, a in sorted(self.inputs.items())))

    @property
    def is_lent(self) -> bool:
        """Whether an input lies on a GPU, in memory that Triton lends until execute() returns: on an H200 calls that
        read it afterwards gave wrong answers (gpu_copies.py)."""
        return any(isinstance(array, GpuInput) for array in self.inputs.values())

    @property
    def is_splittable(self) -> bool:
        """Whether all inputs have the same first dimension, so that one split fits all."""
        return len({array.shape[:1] for array in self.inputs.values()}) == 1


Batch = tuple[ParsedRequest, ...]  # answered by one TensorFlow call


def is_full(batch: Batch, *, max_items: int) -> bool:
    """Whether another request like its first would not fit, so that there is nothing to wait for."""
    return sum(request.items for request in batch) + batch[0].items > max_items


def routed(shared: list[Batch], alone: list[Batch], *, max_items: int) -> tuple[list[Batch], list[Batch]]:
    """The batches for a pipeline, of those that share a call and those that cannot, and those to be answered before
    execute() returns.

    One that is not full is answered before Triton may give more: so the next requests wait, and meet.
    """
    for_pipeline = [*(batch for batch in shared if is_full(batch, max_items=max_items)), *alone]
    return for_pipeline, [batch for batch in shared if not is_full(batch, max_items=max_items)]


def batches(requests: Iterable[ParsedRequest], *, max_items: int) -> Iterator[Batch]:
    """Group requests of equal key, in order of arrival, up to `max_items`; a larger request goes alone."""
    by_key: dict[tuple[object, ...], list[ParsedRequest]] = {}
    for request in requests:
        by_key.setdefault(request.batch_key, []).append(request)
    for alike in by_key.values():
        yield from _split(alike, max_items)


def _split(requests: list[ParsedRequest], max_items: int) -> Iterator[Batch]:
    batch: list[ParsedRequest] = []
    for request in requests:
        if batch and sum(each.items for each in batch) + request.items > max_items:
            yield tuple(batch)
            batch = []
        batch.append(request)
    yield tuple(batch)
