"""Something that is done again and again beside a trial."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_END_S = 15.0


@contextmanager
def every(interval_s: float, call: Callable[[], object]) -> Iterator[None]:
    """Call it so often, on a thread of its own, until the block ends."""
    is_over = threading.Event()

    def keep() -> None:
        while not is_over.wait(interval_s):
            call()

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(_END_S)
