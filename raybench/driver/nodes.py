"""The nodes of a Ray: which it knows of, and which answer. Little is imported: each of them imports this to answer."""

import time

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


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


def _asked(node: str) -> ray.ObjectRef:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    answer: ray.ObjectRef = _answer.options(scheduling_strategy=there).remote()
    return answer


@ray.remote(num_cpus=0, max_retries=0)
def _answer() -> None:
    """What a node that is there can do."""
