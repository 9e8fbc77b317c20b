"""Memory that is used again for each call's inputs; pure numpy."""

import numpy as np

ALIGNMENT = 64  # bytes; TensorFlow's CPU kernels abort the process on a borrowed buffer that is aligned otherwise


class ScratchMemory:
    """Reused memory for concatenated inputs, aligned as TensorFlow demands of borrowed buffers."""

    def __init__(self) -> None:
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
            raw = np.empty(n_bytes + ALIGNMENT, np.uint8)
            self._buffers[name] = raw[-raw.ctypes.data % ALIGNMENT :][:n_bytes]
        return self._buffers[name]
