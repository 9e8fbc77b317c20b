"""The nodes of a Ray: which it knows of, and which answer. Little is imported: each of them imports this to answer."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_LOOK_S = 2.0
_Made = TypeVar("_Made")


class LostError(Exception):
    """What was lost leaves a run nothing to go on with, or it shall not: one sentence."""


def alive() -> frozenset[str]:
    """Ids of the nodes that Ray has not given up."""
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])


def silent(timeout_s: float) -> frozenset[str]:
    """Ids of the nodes that within a time neither answer nor are given up by Ray."""
    asked = {_asked(node): node for node in alive()}
    late, until_s = list(asked), time.monotonic() + timeout_s
    while late and time.monotonic() < until_s:
        late = ray.wait(late, num_returns=len(late), timeout=1.0)[1]
        there = alive()  # what was on its way to a node when that was given up is not told so
        late = [each for each in late if asked[each] in there]
    return frozenset(asked[each] for each in late)


def cpus() -> int:
    """CPUs of the nodes that are left, taken or not."""
    return int(ray.cluster_resources().get("CPU", 0))


def while_there_are_cpus(work: Callable[[], _Made]) -> _Made:
    """What tasks of Ray make, however long it takes; raises LostError where they would wait for a CPU forever."""
    made: Future[_Made] = Future()
    Thread(target=_fulfil, args=(made, work), daemon=True).start()
    while not made.done():
        try:
            made.exception(timeout=_LOOK_S)
        except TimeoutError:
            if cpus() == 0:
                raise LostError("the Ray cluster has no CPU left, and images are made by tasks: add nodes") from None
    return made.result()


def _fulfil(made: "Future[_Made]", work: Callable[[], _Made]) -> None:
    try:
        made.set_result(work())
    except Exception as error:  # it is raised where the result is waited for
        made.set_exception(error)


def _asked(node: str) -> ray.ObjectRef:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    answer: ray.ObjectRef = _answer.options(scheduling_strategy=there).remote()
    return answer


@ray.remote(num_cpus=0, max_retries=0)
def _answer() -> None:
    """What a node that is there can do."""
