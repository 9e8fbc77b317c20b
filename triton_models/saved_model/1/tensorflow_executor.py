"""Arrays -> a TensorFlow function -> arrays, from several threads: copies overlap, execution does not."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from gpu_inputs import GpuInput, Input, joined
from pinned_memory import PinnedMemory
from scratch_memory import ALIGNMENT, ScratchMemory

# Of a GPU: an H200's host of 16 cores decodes 3,700 JPEG files a second in one call, and 11,000 in three.
_TEXTS_AT_ONCE = 3


class Executor:
    """TensorFlow, which executes one call at a time whatever the number of threads that ask.

    While it executes for one, others prepare their inputs and fetch their outputs. Two calls at once would hold the
    memory of two and share one processor. Only calls that bring texts, such as JPEG files to be decoded on the CPU,
    execute a few at a time where there is a GPU, which would wait for each. With `device`, such as GPU:0, inputs are
    moved there before their turn: from memory of each thread's own that is pinned, where there is `pinned` memory.
    TensorFlow returns from a move when it is done, so that the thread's next call may use that memory. When a call
    returns or raises, the GPU has read the inputs that a client put there: others may get their memory.
    """

    def __init__(self, tf: Any, device: str | None = None, pinned: PinnedMemory | None = None) -> None:
        self._tf, self._device, self._pinned = tf, device, pinned
        self._turn = threading.Lock()
        self._text_turn = threading.BoundedSemaphore(_TEXTS_AT_ONCE) if "GPU" in (device or "") else self._turn
        self._per_thread = threading.local()

    def call(self, function: Any, parts: Mapping[str, list[Any]], wanted: frozenset[str]) -> dict[str, np.ndarray]:
        """Call a function with the parts of each input concatenated along axis 0; returns its wanted outputs.

        Raises what TensorFlow raises.
        """
        results: Mapping[str, Any] = {}
        try:
            tensors = {name: self._tensor(name, arrays) for name, arrays in parts.items()}
            with self._text_turn if any(_has_texts(arrays[0]) for arrays in parts.values()) else self._turn:
                results = function(**tensors)
            arrays = {name: results[name].numpy() for name in results if name in wanted}
        finally:
            if any(isinstance(part, GpuInput) for arrays in parts.values() for part in arrays):
                self._wait_unless_fetched([results[name] for name in results if name in wanted])
        return {name: self._owned(array) for name, array in arrays.items()}

    def close(self) -> None:
        """Give pinned memory back; to be called when no call is under way, and none will come."""
        if self._pinned:
            self._pinned.close()

    def _wait_unless_fetched(self, tensors: list[Any]) -> None:
        """Wait until the GPU has done all that it was given; to fetch a tensor from there was to wait for that."""
        if not any("GPU" in tensor.backing_device for tensor in tensors):  # .device is that of the operation
            with self._tf.device(self._device):
                self._tf.raw_ops.SyncDevice()

    def _tensor(self, name: str, parts: list[Input]) -> Any:
        """One tensor of all parts with at most one copy in host memory, where the function will execute."""
        if any(isinstance(part, GpuInput) for part in parts):
            with self._tf.device(self._device):
                return joined(self._tf, parts)
        if parts[0].dtype.kind in "OSUVb" or parts[0].ndim == 0:
            return self._tf.constant(parts[0] if len(parts) == 1 else np.concatenate(parts))
        can_lend = len(parts) == 1 and self._can_lend(parts[0])
        array = parts[0] if can_lend else self._scratch.concatenate(name, parts)
        tensor = self._tf.experimental.dlpack.from_dlpack(array.__dlpack__())
        if self._device is None:
            return tensor
        with self._tf.device(self._device):
            return self._tf.identity(tensor)

    def _can_lend(self, array: np.ndarray) -> bool:
        """Whether TensorFlow should read an array where it lies: on a GPU's host too, where it keeps int32."""
        if self._pinned and self._pinned.is_worth(array.nbytes):
            return False
        return array.ctypes.data % ALIGNMENT == 0 and array.flags.c_contiguous and array.flags.writeable

    @property
    def _scratch(self) -> ScratchMemory:
        """This thread's own."""
        if not hasattr(self._per_thread, "scratch"):
            self._per_thread.scratch = ScratchMemory(self._pinned)
        return self._per_thread.scratch

    def _owned(self, array: Any) -> np.ndarray:
        """The array itself, or a copy where TensorFlow returned our own scratch memory as an output."""
        is_scratch = isinstance(array, np.ndarray) and self._scratch.holds(array)
        return array.copy() if is_scratch else np.asarray(array)


def _has_texts(array: Input) -> bool:
    return array.dtype.kind in "OSU"
