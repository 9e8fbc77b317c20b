"""Something that is done again and again beside a trial."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_END_S = 15.0


@contextmanager
def periodic(interval_s: float, call: Callable[[], object]) -> Iterator[None]:
    """Call something every `interval_s` seconds, on a thread of its own, until the block ends."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(interval_s):
            call()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(_END_S)
