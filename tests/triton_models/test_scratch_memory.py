"""Memory that is used again for each call's inputs."""

import numpy as np
import pytest
from helpers import backend_module

scratch_memory = backend_module("scratch_memory")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_concatenation_keeps_every_value(dtype: type) -> None:
    """The concatenated input holds each request's values in order, whatever was in the memory before."""
    scratch = scratch_memory.ScratchMemory()
    scratch.concatenate("x", [np.full((50, 2, 3), 9, dtype)])
    parts = [np.arange(n * 6, dtype=dtype).reshape(n, 2, 3) + n for n in (1, 4, 2)]
    whole = scratch.concatenate("x", parts)
    assert whole.dtype == dtype
    assert whole.tolist() == [row for part in parts for row in part.tolist()]


@pytest.mark.parametrize("n", [1, 3, 7, 1000])
def test_concatenated_inputs_are_aligned_for_tensorflow(n: int) -> None:
    """Memory that TensorFlow borrows starts at a multiple of 64 bytes, as its CPU kernels demand."""
    scratch = scratch_memory.ScratchMemory()
    starts = [scratch.concatenate(str(i), [np.zeros((n, 5), np.uint8)]).ctypes.data for i in range(8)]
    assert [start % 64 for start in starts] == [0] * 8


def test_memory_is_reused_and_kept_apart_by_name() -> None:
    """Equal calls use the same memory again; inputs of different names never share any."""
    scratch, part = scratch_memory.ScratchMemory(), np.ones((4, 5), np.float32)
    first, other, again = (scratch.concatenate(name, [part]) for name in ("a", "b", "a"))
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, other)


def test_scratch_memory_knows_what_is_its_own() -> None:
    """An output that is scratch memory itself is recognized, so that it can be copied."""
    scratch, part = scratch_memory.ScratchMemory(), np.ones((4, 5), np.float32)
    whole = scratch.concatenate("a", [part, part])
    assert scratch.holds(whole[2:3])
    assert not scratch.holds(part)
    assert not scratch.holds(whole.copy())
