"""Which node has the servers, and which the workers: spread over the others, each on a CPU that Ray has set aside."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raybench.clients.base import ClientError
from raybench.config import Benchmark, ConfigError
from raybench.config.plan import Cell
from raybench.driver.ray_nodes import Node, alive, here, named, on, resource_names
from raybench.servers.server_process import LOOPBACK

_SETTLE_S = 20.0  # what a trial has used is free again by then
_POLL_S = 0.05
_TELL_S = 10.0
_A_BIT = 0.001  # of a resource, to ask for a node that has it
_NODE = "ray.io/node-id"  # a label that every node has
Say = Callable[[str], None]


@dataclass(frozen=True)
class Placement:
    """The node of a run's servers, and how long to wait for CPUs; `is_hosted`: the servers that raybench starts are
    children of an actor there, not of this process."""

    server: Node
    is_hosted: bool
    wait_s: float = 0.0

    @contextmanager
    def workers(self, cell: Cell) -> Iterator[list[dict[str, Any]]]:
        """Options of the actors of a cell's workers, while the block lasts.

        Workers stay off the node of a server that raybench started. TensorFlow in process is a server itself, and takes
        no CPU from Ray. Raises ClientError where there are no such CPUs.
        """
        count = cell.load.workers
        if cell.server.kind == "local":
            yield [{**on(self.server.id), "num_cpus": 0, "num_gpus": min(1, self.server.gpus)}] * count
            return
        group = self._reserved(count, off=self.server if cell.server.is_ours else None)
        try:
            yield [
                {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)}
                for number in range(count)
            ]
        finally:
            remove_placement_group(group)

    def _reserved(self, workers: int, *, off: Node | None) -> PlacementGroup:
        """A CPU for each worker, off a node where the others have enough."""
        if off and _cpus_beside(off) >= workers and (group := _asked(workers, _SETTLE_S, off=off)):
            return group
        wait_s = max(_SETTLE_S, self.wait_s)
        if group := _asked(workers, wait_s):
            return group
        raise ClientError(f"the CPUs of {workers} workers were not free within {wait_s:.0f} s: {_free()}")


def place_servers(benchmark: Benchmark, *, is_hosted: bool, say: Say) -> Placement:
    """Find the servers' node, on a Ray that is connected.

    Raises ConfigError where no node has `--server-node` within `--wait-for-workers`, or only its host could reach it.
    """
    server = _server_node(benchmark.server_node, benchmark.wait_for_workers, say)
    if any(spec.is_ours for spec in benchmark.servers):
        _check_reach(server, benchmark.server_bind)
    return Placement(server, is_hosted=is_hosted, wait_s=benchmark.wait_for_workers)


def await_cpus(workers: int, wait_s: float, say: Say) -> None:
    """Raise ConfigError where too few CPUs are free for the workers, after so long in which nodes may come."""
    if _free_cpus() >= workers:
        return
    group = _asked(workers, wait_s, say=say) if wait_s else None
    if group is None:
        waited, longer = (f" after {wait_s:.0f} s", "longer") if wait_s else ("", "for CPUs")
        raise ConfigError(
            f"workers is {workers}, and the Ray cluster has {_free()}{waited}; "
            f"ask for at most {_free_cpus()}, add nodes, or wait {longer} (--wait-for-workers)"
        )
    remove_placement_group(group)


def _server_node(resource: str | None, wait_s: float, say: Say) -> Node:
    """Where there are several, the driver's own or the first."""
    if resource and not _having(resource) and wait_s:
        say(f"waiting for a node with the resource {resource}")
        if group := _ready([{resource: _A_BIT}], wait_s):
            remove_placement_group(group)
    nodes, driver = alive(), here()
    if found := _having(resource) if resource else [node for node in nodes if node.id == driver]:
        return min(found, key=lambda node: (node.id != driver, node.address, node.id))
    raise ConfigError(
        f"server-node is {resource}; no node of the Ray cluster has it: "
        f"choose {', '.join(resource_names(nodes))} or node:ADDRESS"
    )


def _cpus_beside(server: Node) -> int:
    return sum(node.cpus for node in alive() if node.id != server.id)


def _having(resource: str) -> list[Node]:
    return [node for node in alive() if node.resources.get(resource, 0) > 0]


def _check_reach(server: Node, bind: str) -> None:
    """Refuse a server that only its own host could reach, where workers will be on others."""
    others = [node for node in alive() if node.host != server.host and node.cpus]
    if others and bind in LOOPBACK:
        raise ConfigError(
            f"server-bind is {bind}; workers on other hosts ({named(others)}) cannot reach a server on "
            f"{server.host} there: use 0.0.0.0, or its address {server.address}"
        )


def _asked(workers: int, timeout_s: float, *, off: Node | None = None, say: Say | None = None) -> PlacementGroup | None:
    """CPUs for so many workers, spread over nodes, none of them on `off`; None where they are not free in time.

    It goes with this process: Ray gives back what a driver that has ended had asked for.
    """

    def tell() -> None:
        if say:
            say(f"waiting for CPUs for {workers} workers: {_free()}")

    labels = {_NODE: f"!{off.id}"} if off else None
    return _ready([{"CPU": 1}] * workers, timeout_s, labels=labels, tell=tell)


def _ready(
    bundles: list[dict[str, float]],
    timeout_s: float,
    *,
    labels: dict[str, str] | None = None,
    tell: Callable[[], None] = lambda: None,
) -> PlacementGroup | None:
    """The group's own `wait` keeps no deadline (Ray 2.60), so its state is asked for."""
    selectors = [labels] * len(bundles) if labels else None
    group = placement_group(bundles, strategy="SPREAD", bundle_label_selector=selectors)
    began_s = tell_s = time.monotonic()
    try:
        while placement_group_table(group)["state"] != "CREATED":
            if time.monotonic() - began_s > timeout_s:
                remove_placement_group(group)
                return None
            if time.monotonic() >= tell_s:
                tell()
                tell_s += _TELL_S
            time.sleep(_POLL_S)
    except BaseException:
        remove_placement_group(group)
        raise
    return group


def _free() -> str:
    """Such as `3 free CPUs of 8`."""
    return f"{_free_cpus()} free CPUs of {int(ray.cluster_resources().get('CPU', 0))}"


def _free_cpus() -> int:
    return int(ray.available_resources().get("CPU", 0))
