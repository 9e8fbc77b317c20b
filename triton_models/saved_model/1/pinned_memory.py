"""Host memory that a GPU reads directly: from other memory CUDA copies to its own first, in one thread at a time."""

import mmap
import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np
from cuda_runtime import CudaError

WORTH_BYTES = 2**18  # below it CUDA's own copy costs less than the copy to a buffer


class Pinning(Protocol):
    """What pins and unpins whole pages; raises CudaError."""

    def pin(self, address: int, n_bytes: int) -> None: ...

    def unpin(self, address: int) -> None: ...


class PinnedMemory:
    """Buffers in pages of their own, each pinned once and unpinned when it is given back, or by `close`.

    After the first that cannot be pinned, which is complained about, there are none.
    """

    def __init__(self, runtime: Pinning, complain: Callable[[str], None]) -> None:
        self._runtime, self._complain = runtime, complain
        self._lock, self._pinned = threading.Lock(), dict[int, np.ndarray]()  # by address
        self.is_available = True

    def is_worth(self, n_bytes: int) -> bool:
        """Whether so much should be copied to a buffer before it goes to the GPU."""
        return self.is_available and n_bytes >= WORTH_BYTES

    def buffer(self, n_bytes: int) -> np.ndarray | None:
        """At least so many bytes; None where they cannot be pinned."""
        if not self.is_available:
            return None
        pages = -(-n_bytes // mmap.PAGESIZE)
        found = np.frombuffer(mmap.mmap(-1, pages * mmap.PAGESIZE), np.uint8)
        try:
            self._runtime.pin(found.ctypes.data, found.nbytes)
        except CudaError as error:
            self.is_available = False
            self._complain(f"inputs go to the GPU from memory that is not pinned, which is slower: {error}")
            return None
        with self._lock:
            self._pinned[found.ctypes.data] = found
        return found

    def give_back(self, buffer: np.ndarray) -> None:
        """Unpin a buffer that nobody uses any more; other memory is left alone."""
        with self._lock:
            mine = self._pinned.pop(buffer.ctypes.data, None)
        if mine is not None:
            self._unpin(mine)

    def close(self) -> None:
        """Unpin what is left; nothing is pinned afterwards."""
        self.is_available = False
        with self._lock:
            left, self._pinned = list(self._pinned.values()), {}
        for buffer in left:
            self._unpin(buffer)

    def _unpin(self, buffer: np.ndarray) -> None:
        try:
            self._runtime.unpin(buffer.ctypes.data)
        except CudaError as error:
            self._complain(f"pinned memory could not be given back: {error}")
