"""Arrays -> a TensorFlow function -> arrays, from several threads: copies overlap, computing does not."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from merging import Scratch

_ALIGNMENT = 64  # bytes; TensorFlow's CPU kernels abort the process on a borrowed buffer that lies otherwise


class Computer:
    """TensorFlow, which computes one call at a time whatever the number of threads that ask.

    While it computes for one, others prepare their inputs and fetch their answers. Two calls at once would hold the
    memory of two and share one processor. With `device`, such as GPU:0, inputs are moved there before their turn.
    """

    def __init__(self, tf: Any, device: str | None = None) -> None:
        self._tf, self._device = tf, device
        self._turn = threading.Lock()
        self._own = threading.local()

    def call(
        self, function: Any, parts: Mapping[str, list[np.ndarray]], wanted: frozenset[str]
    ) -> dict[str, np.ndarray]:
        """Call a function with the parts of each input one behind the other; returns its wanted outputs.

        Raises what TensorFlow raises.
        """
        tensors = {name: self._tensor(name, arrays) for name, arrays in parts.items()}
        with self._turn:
            results = function(**tensors)
        arrays = {name: results[name].numpy() for name in results if name in wanted}
        return {name: self._kept(array) for name, array in arrays.items()}

    def _tensor(self, name: str, parts: list[np.ndarray]) -> Any:
        """One tensor of all parts with at most one copy in host memory, where the function will compute."""
        if parts[0].dtype.kind in "OSUb" or parts[0].ndim == 0:
            return self._tf.constant(parts[0] if len(parts) == 1 else np.concatenate(parts))
        array = parts[0] if len(parts) == 1 and self._can_be_lent(parts[0]) else self._scratch.concatenate(name, parts)
        tensor = self._tf.experimental.dlpack.from_dlpack(array.__dlpack__())
        if self._device is None:
            return tensor
        with self._tf.device(self._device):
            return self._tf.identity(tensor)

    def _can_be_lent(self, array: np.ndarray) -> bool:
        """Whether TensorFlow can read an array where it lies; no CPU kernel sees what is moved to a GPU."""
        is_fit = "GPU" in (self._device or "") or array.ctypes.data % _ALIGNMENT == 0
        return is_fit and array.flags.c_contiguous and array.flags.writeable

    @property
    def _scratch(self) -> Scratch:
        """This thread's own."""
        if not hasattr(self._own, "scratch"):
            self._own.scratch = Scratch()
        return self._own.scratch

    def _kept(self, array: Any) -> np.ndarray:
        """The array itself, or a copy where TensorFlow handed our own scratch memory through."""
        is_ours = isinstance(array, np.ndarray) and self._scratch.holds(array)
        return array.copy() if is_ours else np.asarray(array)
