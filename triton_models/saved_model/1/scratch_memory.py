"""Memory that is used again for each call's inputs; pinned for a GPU where that is asked for and pays."""

import numpy as np
from pinned_memory import PinnedMemory

ALIGNMENT = 64  # bytes; TensorFlow's CPU kernels abort the process on a borrowed buffer that is aligned otherwise


class ScratchMemory:
    """Reused memory for concatenated inputs, aligned as TensorFlow demands of borrowed buffers."""

    def __init__(self, pinned: PinnedMemory | None = None) -> None:
        self._pinned = pinned
        self._buffers: dict[str, np.ndarray] = {}

    def concatenate(self, name: str, parts: list[np.ndarray]) -> np.ndarray:
        """The parts concatenated along axis 0; valid until the next call with this name."""
        shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        dtype = parts[0].dtype
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        whole: np.ndarray = self._aligned(name, n_bytes)[:n_bytes].view(dtype).reshape(shape)
        return np.concatenate(parts, out=whole)

    def holds(self, array: np.ndarray) -> bool:
        """Whether an array may lie in here."""
        return any(np.may_share_memory(array, buffer) for buffer in self._buffers.values())

    def _aligned(self, name: str, n_bytes: int) -> np.ndarray:
        if name not in self._buffers or self._buffers[name].nbytes < n_bytes:
            if self._pinned and name in self._buffers:
                self._pinned.give_back(self._buffers[name])
            self._buffers[name] = self._made(n_bytes)
        return self._buffers[name]

    def _made(self, n_bytes: int) -> np.ndarray:
        if self._pinned and self._pinned.is_worth(n_bytes):
            buffer = self._pinned.buffer(n_bytes)
            if buffer is not None:
                return buffer
        raw = np.empty(n_bytes + ALIGNMENT, np.uint8)
        aligned: np.ndarray = raw[-raw.ctypes.data % ALIGNMENT :][:n_bytes]
        return aligned
