"""One observed trial -> from which nodes its load came, and whether the server was on one of them; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa

from raybench.analysis.throughput import throughput_in
from raybench.analysis.window import Window
from raybench.results.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class NodeLoad:
    """The workers of one node, and their successes per second in the window; None without one."""

    node_id: str
    node: str
    workers: tuple[int, ...]
    requests_per_s: float | None
    inferences_per_s: float | None


@dataclass(frozen=True, kw_only=True)
class NodeBreakdown:
    """`nodes` is how many the Ray cluster had; the server's node is None where it is in none of them, or scripted."""

    nodes: int
    server_node_id: str | None
    loads: tuple[NodeLoad, ...]

    @property
    def beside_server(self) -> tuple[int, ...]:
        """The workers on the server's node."""
        return tuple(n for load in self.loads if load.node_id == self.server_node_id for n in load.workers)


def node_breakdown(record: TrialRecord, measured: pa.Table, window: Window | None) -> NodeBreakdown | None:
    """Of a trial whose samples and window are on one clock; None where it was not noted."""
    facts = record.placement
    if facts is None:
        return None
    crew = sorted(record.workers, key=lambda worker: (worker.node, worker.node_id, worker.worker))
    by_node = groupby(crew, key=lambda worker: (worker.node_id, worker.node))
    loads = (_load(*node, [each.worker for each in there], measured, window) for node, there in by_node)
    return NodeBreakdown(nodes=facts.nodes, server_node_id=facts.server_node_id, loads=tuple(loads))


def _load(node_id: str, node: str, workers: Iterable[int], measured: pa.Table, window: Window | None) -> NodeLoad:
    numbers = tuple(workers)
    found = throughput_in(measured, window, of=np.isin(measured["worker"].to_numpy(), numbers))
    return NodeLoad(
        node_id=node_id,
        node=node,
        workers=numbers,
        requests_per_s=found.requests_per_s if found else None,
        inferences_per_s=found.inferences_per_s if found else None,
    )
