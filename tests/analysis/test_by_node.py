"""From which nodes the load of a trial came."""

import io
from pathlib import Path

import pytest
from helpers import lanes, observed, summary, trial
from pyarrow import concat_tables
from record_builders import load, worker_facts
from rich.console import Console

from raybench.analysis.by_node import NodeLoad
from raybench.report import html, text
from raybench.results.records import PlacementRecord
from raybench.results.results_folder import ObservedTrial, Results

CREW = (worker_facts(0, node="host-1"), worker_facts(1, node="host-2"), worker_facts(2, node="host-1"))
TWO_NODES = {
    "workers": CREW,
    "placement": PlacementRecord(nodes=3, server_node_id="id of host-2"),
    "load": load(workers=3, in_flight=3),
}
ROWS = concat_tables(
    [
        lanes([(0, 10), (10, 20), (20, 30)], worker=0),
        lanes([(start, start + 5) for start in range(0, 30, 5)], worker=1),
        lanes([(0, 10), (10, 30)], worker=2),
    ]
)


def test_throughput_is_told_by_node() -> None:
    """Each node has the successes of its own workers in the window that all share; together they are the trial's."""
    found = trial(ROWS, **TWO_NODES)
    assert found.placement
    assert found.throughput
    assert found.placement.loads == (
        NodeLoad(node_id="id of host-1", node="host-1", workers=(0, 2), requests_per_s=150.0, inferences_per_s=150.0),
        NodeLoad(node_id="id of host-2", node="host-2", workers=(1,), requests_per_s=200.0, inferences_per_s=200.0),
    )
    assert found.throughput.inferences_per_s == pytest.approx(350.0)
    assert found.placement.beside_server == (1,)


def test_a_trial_without_workers_has_no_nodes() -> None:
    """A trial that never got its workers has nothing to say of nodes."""
    assert trial(placement=None, workers=()).placement is None


def test_both_reports_show_the_nodes() -> None:
    """Table and page say from which node how much came, and on which the server was; of one node alone they do not."""
    for shown in (as_text, as_page):
        assert shown(observed(ROWS, **TWO_NODES)).count("host-2 (the server too)") == 1
        assert "images/s from each" not in shown(observed())


def as_text(*trials: ObservedTrial) -> str:
    console = Console(file=io.StringIO(), width=120)
    text.print_report(console, summary(*trials), Path("results/run"), is_detailed=True)
    return console.file.getvalue()


def as_page(*trials: ObservedTrial) -> str:
    derived = summary(*trials)
    return html.page(Results(Path("results/run"), derived.run, derived.environment, trials), derived)
