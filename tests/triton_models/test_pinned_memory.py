"""Inputs on their way to a GPU lie in memory that CUDA has pinned: once for each thread, and until the model goes."""

import mmap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from cuda_parts import CudaStandIn
from helpers import backend_module

cuda_runtime = backend_module("cuda_runtime")
pinned_memory = backend_module("pinned_memory")
scratch_memory = backend_module("scratch_memory")

LARGE = np.arange(pinned_memory.WORTH_BYTES, dtype=np.uint32).view(np.uint8)
ALL = frozenset({"y"})


@pytest.fixture
def library() -> CudaStandIn:
    return CudaStandIn()


@pytest.fixture
def said() -> list[str]:
    """What was complained about."""
    return []


def memory_of(library: CudaStandIn, said: list[str], gpu: int = 0) -> Any:
    return pinned_memory.PinnedMemory(cuda_runtime.CudaRuntime(library, gpu), said.append)


def executor_with(pinned: Any) -> Any:
    """One that moves inputs to a device, from pinned memory."""
    import tensorflow as tf

    return backend_module("tensorflow_executor").Executor(tf, "CPU:0", pinned)


def test_a_buffer_is_pinned_once_and_used_again(library: CudaStandIn, said: list[str]) -> None:
    """Calls of a size pin memory at the first alone, which is whole pages; a larger one replaces it."""
    scratch = scratch_memory.ScratchMemory(memory_of(library, said))
    for _ in range(3):
        assert (scratch.concatenate("x", [LARGE]) == LARGE).all()
    assert library.calls == 1
    (address, n_bytes), *_ = library.pinned.items()
    assert address % mmap.PAGESIZE == n_bytes % mmap.PAGESIZE == 0
    assert n_bytes >= LARGE.nbytes
    scratch.concatenate("x", [LARGE, LARGE])
    assert len(library.pinned) == 1
    assert address not in library.pinned
    assert said == []


def test_each_thread_has_a_buffer_and_all_are_given_back(library: CudaStandIn, said: list[str]) -> None:
    """However many calls there are, a thread pins one buffer for an input, and none outlives the model."""
    executor = executor_with(memory_of(library, said))

    def ask(number: int) -> bool:
        array = np.full(LARGE.nbytes, number % 256, np.uint8)
        return bool((executor.call(lambda x: {"y": x}, {"x": [array]}, ALL)["y"] == array).all())

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(ask, range(60)))
    assert 1 <= library.calls <= 3
    assert len(library.pinned) == library.calls
    executor.close()
    assert library.pinned == {}
    assert said == []


def test_memory_is_pinned_for_the_instances_own_gpu(library: CudaStandIn, said: list[str]) -> None:
    """An instance on the third GPU makes no context on the first: each call chooses its own."""
    pinned = memory_of(library, said, gpu=2)
    pinned.give_back(pinned.buffer(1))
    assert library.gpus == [2, 2]


def test_small_inputs_are_not_copied(library: CudaStandIn, said: list[str]) -> None:
    """What is small goes to the GPU from where it lies: pinning it would cost more."""
    executor = executor_with(memory_of(library, said))
    answer = executor.call(lambda x: {"y": x + np.uint8(1)}, {"x": [np.array([1, 2, 3], np.uint8)]}, ALL)
    assert answer["y"].tolist() == [2, 3, 4]
    assert library.calls == 0


def test_a_refusal_is_said_once_and_the_answers_stay_right(said: list[str]) -> None:
    """Where CUDA pins no more, a model serves on from other memory, and its log says so in one line."""
    library = CudaStandIn(most=1)
    executor = executor_with(memory_of(library, said))
    for name in ("a", "b", "c"):
        answer = executor.call(lambda **x: {"y": next(iter(x.values()))}, {name: [LARGE]}, ALL)
        assert (answer["y"] == LARGE).all()
    assert said == [
        "inputs go to the GPU from memory that is not pinned, which is slower: cudaHostRegister returned error 2"
    ]
    executor.close()
    assert library.pinned == {}


def test_without_a_gpu_nothing_is_pinned() -> None:
    """On a CPU-only host no CUDA library is loaded or needed."""
    scratch = scratch_memory.ScratchMemory()
    assert (scratch.concatenate("x", [LARGE]) == LARGE).all()
