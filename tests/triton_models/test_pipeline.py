"""Work under way on several threads of the python backend, a stated number at once."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import DEADLINE_S, backend_module, wait_until

pipeline = backend_module("pipeline")


@pytest.fixture
def two() -> Iterator[Any]:
    """A pipeline of two."""
    made = pipeline.Pipeline(2)
    yield made
    made.drain()


def test_two_are_under_way_and_the_third_waits_with_its_owner(two: Any) -> None:
    """A full pipeline takes nothing more until one of its own has ended: what waits, waits in Triton's queue."""
    ends, started, handed = [threading.Event() for _ in range(3)], [], []

    def work(number: int) -> None:
        started.append(number)
        ends[number].wait(DEADLINE_S)

    def hand_over() -> None:
        for number in range(3):
            two.hand_over(lambda number=number: work(number))
            handed.append(number)

    owner = threading.Thread(target=hand_over)
    owner.start()
    wait_until(lambda: len(started) == len(handed) == 2)
    owner.join(0.1)
    assert handed == [0, 1]
    ends[1].set()
    wait_until(lambda: handed == [0, 1, 2])
    assert started == [0, 1, 2]
    for end in ends:
        end.set()
    owner.join(DEADLINE_S)


def test_draining_waits_for_what_is_under_way() -> None:
    """When a model is unloaded, all that it took is done."""
    made, end, done = pipeline.Pipeline(2), threading.Event(), []

    def work() -> None:
        end.wait(DEADLINE_S)
        done.append(True)

    for _ in range(2):
        made.hand_over(work)
    threading.Timer(0.05, end.set).start()
    made.drain()
    assert done == [True, True]


def test_work_that_fails_leaves_its_place(two: Any) -> None:
    """However work ends, the next finds a place."""
    done = threading.Event()
    for _ in range(4):
        two.hand_over(lambda: 1 / 0)
    two.hand_over(done.set)
    assert done.wait(DEADLINE_S)


@pytest.mark.parametrize(
    ("asked", "has_gpu", "depth"), [("auto", True, 3), ("auto", False, 1), ("1", True, 1), ("5", False, 5)]
)
def test_a_gpu_has_a_pipeline_unless_told_otherwise(asked: str, has_gpu: bool, depth: int) -> None:
    """Copies would keep a GPU waiting; a CPU makes them itself, and gains nothing. A number stands in either case."""
    assert pipeline.pipeline_depth(asked, has_gpu=has_gpu) == depth
