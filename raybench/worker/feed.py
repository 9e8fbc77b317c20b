"""What the lanes of a worker send next: requests encoded before the start, or encoded ahead of the lanes."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Condition, Thread
from typing import Any, NamedTuple

from raybench.clients.base import ClientError, Reply
from raybench.inputs.stored_items import SkippedRows
from raybench.inputs.tensors import Batch, concatenated, item_count, item_hashes, items_of

_POLL_S = 0.1
LONGEST_WAIT_S = 60.0  # a source that gives nothing for so long gives nothing at all


class RequestItems(NamedTuple):
    """The items of one request, by the number of its payload, with the hash of each item."""

    payload: int
    batch: Batch
    hashes: tuple[str, ...]
    is_kept: bool = False  # with the reply, for nobody can make them again
    skipped: SkippedRows | None = None  # of the table that is streamed, until now


def hashed(payload: int, batch: Batch, *, is_kept: bool = False) -> RequestItems:
    return RequestItems(payload, batch, item_hashes(batch), is_kept)


def cut(blocks: Sequence[Batch], *, batch_size: int, models: int) -> Iterator[RequestItems]:
    """Blocks of items cut into requests: whole ones only, and as many for each model."""
    items = concatenated(blocks)
    for payload in range(item_count(items) // batch_size // models * models):
        yield hashed(payload, items_of(items, payload * batch_size, batch_size))


class Request(NamedTuple):
    """What is sent to a model: by which client, its bytes, and how many there are with those in shared memory."""

    payload: int
    send: Callable[[Any, float], Reply]
    body: Any
    size: int
    items: Batch | None = None  # where they are kept with the reply


class PreloadedFeed:
    """Requests that are all there, sent in turn again and again."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests

    def take(self, seq: int, is_over: Callable[[], bool]) -> Request:  # noqa: ARG002
        """The request to send as number `seq`."""
        return self._requests[seq % len(self._requests)]

    def give_back(self, request: Request) -> None:
        """It has its reply."""

    def last(self, most_bytes: int) -> list[Request]:
        """One request or more, of at most so many bytes."""
        return list(self._requests[: max(1, most_bytes // len(self._requests[0].body))])

    def close(self) -> None:
        pass


class StreamedFeed:
    """Requests that a thread of its own takes from an iterator, as long as those that are held fit into a budget.

    A request is held while it waits for a lane, and until its lane gives it back.
    """

    def __init__(self, requests: Iterable[Request], budget_bytes: int) -> None:
        self._budget_bytes, self._held_bytes = budget_bytes, 0
        self._room, self._is_closed = Condition(), False
        self._ready: SimpleQueue[Request] = SimpleQueue()
        self._failure: Exception | None = None
        Thread(target=self._fill, args=(requests,), daemon=True).start()

    def wait_for(self, requests: int) -> None:
        """Return when so many are ready; raises ClientError where they do not come."""
        began_s = time.monotonic()
        while self._ready.qsize() < requests:
            self._check(began_s)
            time.sleep(_POLL_S)

    def take(self, seq: int, is_over: Callable[[], bool]) -> Request | None:  # noqa: ARG002
        """The next request, waited for; None where it is over before that. Raises ClientError where none comes."""
        began_s = time.monotonic()
        while not is_over():
            try:
                request = self._ready.get(timeout=_POLL_S)
            except Empty:
                self._check(began_s)
                continue
            if not is_over():
                return request
            self.give_back(request)
        return None

    def give_back(self, request: Request) -> None:
        """It has its reply: its memory is free for another."""
        with self._room:
            self._held_bytes -= request.size
            self._room.notify()

    def last(self, most_bytes: int) -> list[Request]:
        """One request or more, of at most so many bytes, of those that are ready; no more are made."""
        self.wait_for(1)
        self.close()
        few = [self._ready.get()]
        while not self._ready.empty() and (len(few) + 1) * len(few[0].body) <= most_bytes:
            few.append(self._ready.get())
        return few

    def close(self) -> None:
        """Make no more requests."""
        with self._room:
            self._is_closed = True
            self._room.notify()

    def _fill(self, requests: Iterable[Request]) -> None:
        try:
            for request in requests:
                if not self._has_room(request.size):
                    return
                self._ready.put(request)
        except Exception as error:  # whatever it is, the lanes that wait have to know
            self._failure = error

    def _has_room(self, size: int) -> bool:
        """Wait until so many bytes fit, and count them as held; False where it was closed before."""
        with self._room:
            self._room.wait_for(lambda: self._is_closed or self._held_bytes + size <= self._budget_bytes)
            self._held_bytes += size
            return not self._is_closed

    def _check(self, began_s: float) -> None:
        if self._failure:
            raise ClientError(f"inputs cannot be read: {self._failure}") from self._failure
        if time.monotonic() - began_s > LONGEST_WAIT_S:
            raise ClientError(
                f"no inputs were read within {LONGEST_WAIT_S:.0f} s: fix what blocks them, or use --feed preload"
            )


Feed = PreloadedFeed | StreamedFeed
