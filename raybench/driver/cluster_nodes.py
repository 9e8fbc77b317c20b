"""The nodes of a Ray cluster: what each has, and whether raybench is on it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raybench.config import ConfigError
from raybench.results import run_info

_ANSWER_S = 300.0  # in which a node may first build the job's runtime environment
_MISSING = re.compile(r"No module named '([\w.]+)'")
_OF_EVERY_NODE = re.compile(r"memory|object_store_memory|node:.*")
_MOST_NAMED = 3


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
    """The nodes that are there now."""
    return tuple(
        Node(node["NodeID"], node["NodeManagerAddress"], node["NodeManagerHostname"], node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    )


def here() -> str:
    """The id of the node that this process is on."""
    return str(ray.get_runtime_context().get_node_id())


def on(node_id: str) -> dict[str, Any]:
    """Options of an actor or a task that is to run on one node, and nowhere else."""
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False)}


def named(nodes: Sequence[Node]) -> str:
    """Hosts, as they stand in a sentence."""
    hosts = list(dict.fromkeys(node.host for node in nodes))
    more = f" and {len(hosts) - _MOST_NAMED} more" if len(hosts) > _MOST_NAMED else ""
    return f"{', '.join(hosts[:_MOST_NAMED])}{more}"


def resource_names(nodes: Sequence[Node]) -> list[str]:
    """What tells nodes apart."""
    return sorted({name for node in nodes for name in node.resources if not _OF_EVERY_NODE.fullmatch(name)})


def check_raybench(nodes: Sequence[Node]) -> None:
    """Raise ConfigError where a node could not run our workers: raybench is not there, or another version of it."""
    answers = {_version.options(**on(node.id)).remote(): node for node in nodes}
    _, silent = ray.wait(list(answers), num_returns=len(answers), timeout=_ANSWER_S)
    if silent:
        late = named([answers[answer] for answer in silent])
        raise ConfigError(f"the Ray cluster's nodes {late} have not run a task within {_ANSWER_S:.0f} s: end them")
    found = {node: _answer(answer, node) for answer, node in answers.items()}
    ours = run_info.version_of("raybench")
    if others := [node for node, theirs in found.items() if None not in (ours, theirs) and theirs != ours]:
        raise ConfigError(
            f"raybench is {found[others[0]]} on the Ray cluster's nodes {named(others)}, and {ours} here: "
            f"install the same version on all"
        )


@ray.remote(num_cpus=0, max_retries=0)
def _version() -> str | None:
    return run_info.version_of("raybench")


def _answer(answer: Any, node: Node) -> str | None:
    try:
        return ray.get(answer, timeout=_ANSWER_S)
    except RayError as error:
        said = " ".join(str(getattr(error, "cause", None) or error).split())
        if missing := _MISSING.search(said):
            raise ConfigError(_absent(missing[1], node)) from error
        raise ConfigError(f"the Ray cluster's node {node.host} cannot run a task: {said[:300]}") from error


def _absent(module: str, node: Node) -> str:
    return (
        f"{module} is not on the Ray cluster's node {node.host}: install raybench there, or have the job bring it "
        f'(ray job submit --runtime-env-json \'{{"py_modules": ["raybench"]}}\', or "pip")'
    )
