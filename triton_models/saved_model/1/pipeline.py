"""Work under way on several threads, a stated number at once; knows no Triton and no TensorFlow."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_ON_A_GPU = 3  # one call computes, one is received, one is answered


class Pipeline:
    """At most `depth` pieces of work are under way; handing over one more waits until one has ended.

    So what waits, waits with the caller: Triton's queue, where requests can still meet.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._threads = ThreadPoolExecutor(depth, thread_name_prefix="pipeline")
        self._places = threading.BoundedSemaphore(depth)

    def hand_over(self, work: Callable[[], None]) -> None:
        """Start work that raises nothing, as soon as there is a place for it."""
        self._places.acquire()
        self._threads.submit(self._do, work)

    def drain(self) -> None:
        """Return when all that was handed over is done; nothing can be handed over afterwards."""
        self._threads.shutdown(wait=True)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._places.release()


def pipeline_depth(asked: str, *, has_gpu: bool) -> int:
    """The depth of a parameter's number, or of `auto`: a pipeline where copies would keep a GPU waiting, else none."""
    if asked != "auto":
        return int(asked)
    return _ON_A_GPU if has_gpu else 1
