"""Whether the nodes of a Ray cluster can run our workers: raybench is there, in the same version."""

import re
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from raybench.config import ConfigError
from raybench.driver.ray_errors import sentence
from raybench.driver.ray_nodes import Node, alive_ids, named, on, unanswered
from raybench.results.run_info import version_of

_ANSWER_S = 300.0  # in which a node may first build the job's runtime environment
_MISSING = re.compile(r"No module named '([\w.]+)'")
_LONGEST = 300


def check_raybench(nodes: Sequence[Node]) -> None:
    """Raise ConfigError where a node could not run our workers: raybench is not there, or another version of it.

    Nodes that die meanwhile are left out, as Ray lists a dead node for a while.
    """
    tasks = {node.id: _version.options(**on(node.id)).remote() for node in nodes}
    if late := unanswered(tasks, _ANSWER_S):
        slow = named([node for node in nodes if node.id in late])
        raise ConfigError(f"the Ray cluster's nodes {slow} have not run a task within {_ANSWER_S:.0f} s: remove them")
    there = alive_ids()
    found = {node: _answer(tasks[node.id], node) for node in nodes if node.id in there}
    ours = version_of("raybench")
    if differ := [node for node, theirs in found.items() if None not in (ours, theirs) and theirs != ours]:
        raise ConfigError(
            f"raybench is {found[differ[0]]} on the Ray cluster's nodes {named(differ)}, and {ours} here: "
            f"install the same version on all"
        )


@ray.remote(num_cpus=0, max_retries=0)
def _version() -> str | None:
    return version_of("raybench")


def _answer(answer: Any, node: Node) -> str | None:
    try:
        return ray.get(answer, timeout=_ANSWER_S)
    except RayError as error:
        said = sentence(error)
        if missing := _MISSING.search(said):
            raise ConfigError(_absent(missing[1], node)) from error
        raise ConfigError(f"the Ray cluster's node {node.host} cannot run a task: {said[:_LONGEST]}") from error


def _absent(module: str, node: Node) -> str:
    return (
        f"{module} is not on the Ray cluster's node {node.host}: install raybench there, or ship it with the job "
        f'(ray job submit --runtime-env-json \'{{"py_modules": ["raybench"]}}\', or "pip")'
    )
