"""Where the load came from, as a table of text."""

from collections.abc import Mapping
from statistics import fmean

from raybench.analysis import units
from raybench.analysis.by_node import NodeLoad
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary
from raybench.report.cost_tables import ReportTable

_DASH = "–"
_SHOWN = 6  # letters of a node's id


def node_tables(summary: Summary, names: Mapping[str, str]) -> list[ReportTable]:
    """The workers and the throughput of each node, for cells by their names; nothing where there was one node alone."""
    trials = [t for t in summary.trials if t.placement and t.placement.nodes > 1 and t.placement.loads]
    if summary.search is not None or not trials:
        return []
    shown = _shown(trials)
    rows = [
        row
        for cell in summary.cells
        for row in _rows(names[cell.cell], [t for t in trials if t.id in cell.trials], shown)
    ]
    rate = f"{units.common(trial.unit for trial in trials)}/s"
    return [ReportTable(f"nodes of the workers, and {rate} from each", ("server", "node", "workers", rate), 3, rows)]


def _rows(name: str, trials: list[TrialSummary], shown: Mapping[str, str]) -> list[tuple[str, ...]]:
    """One for each node; throughput is the mean over the rounds in which it had workers."""
    by_node: dict[str, list[NodeLoad]] = {}
    servers = {trial.placement.server_node_id for trial in trials if trial.placement}
    for load in (load for trial in trials if trial.placement for load in trial.placement.loads):
        by_node.setdefault(load.node_id, []).append(load)
    return [
        (
            name,
            f"{shown[node_id]}{' (the server too)' if node_id in servers else ''}",
            _numbers(loads),
            _rate(loads),
        )
        for node_id, loads in by_node.items()
    ]


def _numbers(loads: list[NodeLoad]) -> str:
    return ", ".join(map(str, sorted({number for load in loads for number in load.workers})))


def _rate(loads: list[NodeLoad]) -> str:
    known = [load.inferences_per_s for load in loads if load.inferences_per_s is not None]
    return f"{fmean(known):.1f}" if known else _DASH


def _shown(trials: list[TrialSummary]) -> dict[str, str]:
    """Nodes by their hosts, those that share one with their ids."""
    hosts = {load.node_id: load.node for trial in trials if trial.placement for load in trial.placement.loads}
    names = list(hosts.values())
    return {
        node_id: host if names.count(host) == 1 else f"{host} {node_id[:_SHOWN]}" for node_id, host in hosts.items()
    }
