"""Some replies to the measured requests, kept as they came, to be decoded and compared when nothing is measured."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

import numpy as np

from raybench.clients.base import Reply
from raybench.inputs.tensors import Batch, size_bytes

_EACH_OF_FIRST = 10
_GROWTH = 1.5
_LAST = 10**10
_SIZES = 16
_BUDGET_BYTES, _ALL_BYTES = 2**24, 2**28  # of one worker, and of all together: the driver holds them at once
_LEAST_BYTES = 2**20


def _numbers() -> Iterator[int]:
    """The first ten, then each half as large again as the one before: early ones and late ones, few of many."""
    yield from range(_EACH_OF_FIRST)
    number = float(_EACH_OF_FIRST)
    while number < _LAST:
        yield int(number)
        number *= _GROWTH


_NUMBERS = frozenset(_numbers())


class KeptReply(NamedTuple):
    """The reply to request `seq` of a worker, which carried this payload."""

    seq: int
    payload: int
    reply: Reply
    items: Batch | None = None  # that it answers, where they cannot be made again

    @property
    def held_bytes(self) -> int:
        return self.reply.received_bytes + (size_bytes(self.items) if self.items else 0)


class ReplySampler:
    """Keeps replies by their number, so that rounds keep the same ones, and any of a size that was not seen before.

    Garbage mostly has another size than answers have: a reply of a new size is kept however rare it is.
    """

    def __init__(self, workers: int) -> None:
        self._budget_bytes = max(_LEAST_BYTES, min(_BUDGET_BYTES, _ALL_BYTES // workers))
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        self.kept: list[KeptReply] = []
        self._sizes: set[int] = set()
        self._smallest, self._largest, self._bytes = 2**62, -1, 0

    def offer(self, seq: int, payload: int, reply: Reply, items: Batch | None = None) -> None:
        """Keep a reply with status OK, or not; lanes call it at any time."""
        size = reply.received_bytes
        if seq in _NUMBERS or self._is_new(size):
            with self._lock:
                self._sizes.add(size)
                self._smallest, self._largest = min(self._smallest, size), max(self._largest, size)
                self.kept.append(KeptReply(seq, payload, reply, items))
                self._bytes += self.kept[-1].held_bytes
                if self._bytes > self._budget_bytes and len(self.kept) > 3:
                    self._thin()

    def _is_new(self, size: int) -> bool:
        """Of few sizes each counts, of many the extremes."""
        if size in self._sizes:
            return False
        return len(self._sizes) < _SIZES or not self._smallest <= size <= self._largest

    def _thin(self) -> None:
        """Drop about half; those stay whose size is another than that of the one before."""
        sizes = [each.reply.received_bytes for each in self.kept]
        odd = {number for number in range(1, len(sizes)) if sizes[number] != sizes[number - 1]}
        few = sorted(odd)[:_SIZES]
        self.kept = [each for number, each in enumerate(self.kept) if number % 2 == 0 or number in few]
        self._bytes = sum(each.held_bytes for each in self.kept)


@dataclass(frozen=True)
class DecodedReply:
    """One reply, decoded: the outputs to all items of its payload."""

    seq: int
    payload: int
    outputs: dict[str, np.ndarray]
    items: Batch | None = None


@dataclass(frozen=True)
class DecodedReplies:
    """The replies that a worker kept; a sentence for each that cannot be read, or has a type that raybench does not."""

    replies: tuple[DecodedReply, ...] = ()
    malformed: tuple[str, ...] = field(default=())
    unsupported: tuple[str, ...] = field(default=())
