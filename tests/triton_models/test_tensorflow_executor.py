"""Arrays -> TensorFlow -> arrays in the python backend, from several threads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from helpers import DEADLINE_S, backend_module, wait_until

ALL = frozenset({"y"})


@pytest.fixture(params=[None, "CPU:0", "GPU:0"])
def executor(request: pytest.FixtureRequest) -> Any:
    """One that executes where inputs lie, and two that move them to a device first; without a GPU, TensorFlow keeps
    what goes there on the host, as it keeps int32 with one."""
    import tensorflow as tf

    return backend_module("tensorflow_executor").Executor(tf, request.param)


def at(offset: int, *values: int) -> np.ndarray:
    """An array whose bytes begin so far behind an address that TensorFlow can borrow, or two of them."""
    memory = np.empty(4096, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    array = memory[start : start + len(values)]
    array[:] = values
    return array


@pytest.mark.parametrize("offset", [0, 1, 16])
def test_an_input_may_lie_anywhere(executor: Any, offset: int) -> None:
    """TensorFlow aborts the process on a borrowed buffer that is not aligned: such an input is copied."""
    answer = executor.call(lambda x: {"y": x + np.uint8(1)}, {"x": [at(offset, 1, 2, 3)]}, ALL)
    assert answer["y"].tolist() == [2, 3, 4]


def test_a_read_only_input_is_taken(executor: Any) -> None:
    """numpy lends no array that nobody may write to: it is copied."""
    array = at(0, 1, 2)
    array.flags.writeable = False
    assert executor.call(lambda x: {"y": x + np.uint8(1)}, {"x": [array]}, ALL)["y"].tolist() == [2, 3]


def test_only_what_is_asked_for_is_fetched(executor: Any) -> None:
    """Outputs that no request of a call asked for stay where they are."""
    assert set(executor.call(lambda x: {"y": x, "z": x}, {"x": [at(0, 1)]}, ALL)) == {"y"}


def test_threads_do_not_share_their_scratch_memory(executor: Any) -> None:
    """Many threads get the answers to their own inputs, also where TensorFlow returns the input itself."""

    def ask(number: int) -> bool:
        parts = [np.full(1000, number % 256, np.uint8), np.full(500, number // 256, np.uint8)]
        return bool((executor.call(lambda x: {"y": x}, {"x": parts}, ALL)["y"] == np.concatenate(parts)).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))


def test_one_call_executes_at_a_time(executor: Any) -> None:
    """While TensorFlow executes for one thread another prepares its input and no more: memory is that of one call."""
    entered, end = [], threading.Event()

    def function(x: Any) -> dict[str, Any]:
        entered.append(int(x[0]))
        end.wait(DEADLINE_S)
        return {"y": x}

    def ask(number: int) -> None:
        executor.call(function, {"x": [at(0, number)]}, ALL)

    threads = [threading.Thread(target=ask, args=(number,)) for number in (1, 2)]
    threads[0].start()
    wait_until(lambda: entered == [1])
    threads[1].start()
    threads[1].join(0.2)
    assert entered == [1]
    end.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert entered == [1, 2]


def test_calls_with_texts_overlap_on_a_gpu() -> None:
    """JPEG files are decoded on the CPU: while one call decodes, others do too, and no GPU waits for one alone."""
    import tensorflow as tf

    executor, meeting = backend_module("tensorflow_executor").Executor(tf, "GPU:0"), threading.Barrier(3)

    def function(x: Any) -> dict[str, Any]:
        meeting.wait(DEADLINE_S)  # which only three calls at once pass
        return {"y": x}

    def ask(number: int) -> list[bytes]:
        found: list[bytes] = executor.call(function, {"x": [np.array([b"%d" % number], object)]}, ALL)["y"].tolist()
        return found

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, range(3))) == [[b"0"], [b"1"], [b"2"]]
