"""The nodes of a Ray: their resources, which of them answer, and how to run something on one.

Little is imported: each node imports this to answer.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_LOOK_S = 2.0
_OF_EVERY_NODE = re.compile(r"memory|object_store_memory|node:.*")
_MOST_NAMED = 3
_Made = TypeVar("_Made")


class LostError(Exception):
    """What was lost leaves a run nothing to go on with, or it shall not: one sentence."""


@dataclass(frozen=True)
class Node:
    """A node: its id, its address in the cluster, its host's name, and how much it has of what, in use or not."""

    id: str
    address: str
    host: str
    resources: Mapping[str, float] = field(hash=False)

    @property
    def cpus(self) -> int:
        return int(self.resources.get("CPU", 0))

    @property
    def gpus(self) -> int:
        return int(self.resources.get("GPU", 0))


def alive() -> tuple[Node, ...]:
    """The nodes that Ray has not given up."""
    return tuple(
        Node(node["NodeID"], node["NodeManagerAddress"], node["NodeManagerHostname"], node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    )


def alive_ids() -> frozenset[str]:
    return frozenset(node.id for node in alive())


def here() -> str:
    """The id of the node that this process is on."""
    return str(ray.get_runtime_context().get_node_id())


def on(node_id: str) -> dict[str, Any]:
    """Options of an actor or a task that is to run on one node, and nowhere else."""
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False)}


def named(nodes: Sequence[Node]) -> str:
    """Hosts, as a sentence lists them."""
    hosts = list(dict.fromkeys(node.host for node in nodes))
    more = f" and {len(hosts) - _MOST_NAMED} more" if len(hosts) > _MOST_NAMED else ""
    return f"{', '.join(hosts[:_MOST_NAMED])}{more}"


def resource_names(nodes: Sequence[Node]) -> list[str]:
    """The resources by which nodes differ."""
    return sorted({name for node in nodes for name in node.resources if not _OF_EVERY_NODE.fullmatch(name)})


def cpus() -> int:
    """CPUs of the nodes that are left, taken or not."""
    return int(ray.cluster_resources().get("CPU", 0))


def silent(timeout_s: float) -> frozenset[str]:
    """Ids of the nodes that within a time neither answer nor are given up by Ray."""
    asked = {node_id: _answer.options(**on(node_id)).remote() for node_id in alive_ids()}
    return unanswered(asked, timeout_s)


def unanswered(asked: Mapping[str, Any], timeout_s: float) -> frozenset[str]:
    """Of tasks by the id of the node that they run on: the nodes still there that have not run theirs in time."""
    late, until_s = dict(asked), time.monotonic() + timeout_s
    while late and time.monotonic() < until_s:
        unfinished = set(ray.wait(list(late.values()), num_returns=len(late), timeout=1.0)[1])
        there = alive_ids()  # Ray does not say that a task was on its way to a node when it gave that up
        late = {node_id: task for node_id, task in late.items() if task in unfinished and node_id in there}
    return frozenset(late)


def while_there_are_cpus(work: Callable[[], _Made]) -> _Made:
    """What tasks of Ray make, however long it takes; raises LostError where they would wait for a CPU forever."""
    made: Future[_Made] = Future()
    Thread(target=_fulfil, args=(made, work), daemon=True).start()
    while not made.done():
        try:
            made.exception(timeout=_LOOK_S)
        except TimeoutError:
            if cpus() == 0:
                raise LostError("the Ray cluster has no free CPU, which making the inputs needs: add nodes") from None
        except KeyboardInterrupt:
            logging.getLogger("ray.data.exceptions").disabled = True  # of the thread, when Ray ends under it
            raise
    return made.result()


def _fulfil(made: "Future[_Made]", work: Callable[[], _Made]) -> None:
    try:
        made.set_result(work())
    except Exception as error:  # it is raised where the result is waited for
        made.set_exception(error)


@ray.remote(num_cpus=0, max_retries=0)
def _answer() -> None:
    """What a node that is there can do."""
