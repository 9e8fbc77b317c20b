"""Copies of inputs that Triton lends on a GPU, made on that GPU, so that their call may go on after execute()."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from dynamic_batching import Batch, ParsedRequest
from gpu_inputs import GpuInput, Input, address_in


class Copying(Protocol):
    """What copies between addresses of a GPU, and returns when it is done; raises CudaError."""

    def copy(self, target: int, source: int, n_bytes: int) -> None: ...


class GpuCopies:
    """Memory of TensorFlow's on one GPU, which holds an input until its call is answered, and then the next of its
    dtype and shape.

    A copy runs beside TensorFlow's own stream, so memory must not be given back before TensorFlow has read it
    (Executor.call). Memory of at most `most` finished batches is kept for reuse. After the first copy that fails, which
    is complained about, none is made or kept: each try might wait for memory. Without `cuda` none is made at all.
    """

    def __init__(
        self, tf: Any, device: str | None, cuda: Copying | None, complain: Callable[[str], None], *, most: int
    ) -> None:
        self._tf, self._device, self._cuda, self._complain, self._most = tf, device, cuda, complain, most
        self._lock, self._free = threading.Lock(), list[list[GpuInput]]()  # a list for each batch, oldest first

    def kept(self, batch: Batch) -> Batch | None:
        """The batch with its own copies of what Triton lends; None where none can be made."""
        if not any(request.is_lent for request in batch):
            return batch
        if self._cuda is None:
            return None
        try:
            return tuple(self._kept(request, self._cuda) for request in batch)
        except Exception as error:  # CudaError, or one of TensorFlow's where the GPU is full
            with self._lock:
                self._cuda, self._free = None, []
            sentence = f"{type(error).__name__}: {error}".splitlines()[0]
            self._complain(f"inputs on the GPU cannot be copied there, so their calls do not overlap: {sentence}")
            return None

    def give_back(self, batch: Batch) -> None:
        """Let other inputs have the memory of a batch that `kept` returned, whose requests are all answered."""
        copies = [array for request in batch for array in request.inputs.values() if isinstance(array, GpuInput)]
        with self._lock:
            if self._cuda:
                self._free = [each for each in (*self._free, copies) if each][-self._most :]

    def _kept(self, request: ParsedRequest, cuda: Copying) -> ParsedRequest:
        return replace(request, inputs={name: self._copy(array, cuda) for name, array in request.inputs.items()})

    def _copy(self, array: Input, cuda: Copying) -> Input:
        if not isinstance(array, GpuInput):
            return array
        copy = self._taken(array) or self._made(array)
        cuda.copy(copy.address, array.address, array.nbytes)
        return copy

    def _taken(self, like: GpuInput) -> GpuInput | None:
        """Memory that was given back."""
        with self._lock:
            for copies in self._free:
                for place, free in enumerate(copies):
                    if (free.dtype, free.shape) == (like.dtype, like.shape):
                        return copies.pop(place)
        return None

    def _made(self, like: GpuInput) -> GpuInput:
        """New memory: TensorFlow's, which counts it among what it may take of the GPU; of int32, on the host."""
        with self._tf.device(self._device):
            tensor = self._tf.identity(self._tf.constant(np.zeros(like.shape, like.dtype)))
            self._tf.raw_ops.SyncDevice()  # a call may still read what lay there before
        return GpuInput(self._tf, tensor, address_in(self._tf.experimental.dlpack.to_dlpack(tensor)))
