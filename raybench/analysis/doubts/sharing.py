"""What shared a host, its cores or a server: doubts about who took resources from whom; pure."""

from collections import Counter

from raybench.analysis import units
from raybench.analysis.costs import counts_agree
from raybench.analysis.doubt import Doubt
from raybench.analysis.trial_summary import TrialSummary
from raybench.config import STREAM


def workers_over_cores(trial: TrialSummary) -> Doubt | None:
    """On the node where it is worst; a worker whose items are streamed has a process beside it that reads them."""
    each, named = (2, f" and as many readers of {units.items(trial.unit)}") if trial.load.feed == STREAM else (1, "")
    on_node = Counter((worker.node, worker.cores) for worker in trial.workers)
    over = [(workers, cores) for (_, cores), workers in on_node.items() if each * workers > cores]
    if not over:
        return None
    workers, cores = max(over, key=lambda node: node[0] / node[1])
    return Doubt(
        code="workers_over_cores",
        sentence=f"{workers} workers{named} shared {cores} cores: they slow each other down, and a server there",
        remedy=f"use at most {max(1, cores // each)} workers per host, with more lanes each (--concurrency), "
        "or more hosts",
        value=each * workers,
        limit=cores,
    )


def server_beside_workers(trial: TrialSummary) -> Doubt | None:
    """On a cluster of several nodes client and server need not share cores; TensorFlow in process is both."""
    placed = trial.placement
    if placed is None or placed.nodes < 2 or trial.server.kind == "local" or not placed.beside_server:
        return None
    beside, workers = len(placed.beside_server), len(trial.workers)
    return Doubt(
        code="server_beside_workers",
        sentence=f"{beside} of {workers} workers ran on the server's node and took its cores, though the Ray "
        f"cluster has {placed.nodes} nodes",
        remedy="use no more workers than the other nodes have CPUs, add nodes, or give the server one (--server-node)",
        value=beside,
        limit=0,
    )


def niced_workers(trial: TrialSummary, *, is_own_ray: bool) -> Doubt | None:
    """Workers of a Ray that raybench started have its own niceness, or what RAY_worker_niceness asks for."""
    nice = max((worker.nice for worker in trial.workers), default=0)
    if nice <= 0:
        return None
    return Doubt(
        code="niced_workers",
        sentence=f"workers ran at nice {nice}: where cores are scarce, every other process goes first",
        remedy="start raybench itself without nice, and without RAY_worker_niceness in its environment"
        if is_own_ray
        else "start the Ray nodes of that cluster with RAY_worker_niceness=0 in their environment",
        value=nice,
        limit=0,
    )


def breakdown_unknown(trial: TrialSummary) -> Doubt | None:
    """The server's own statistics do not account for this client's requests, or a TensorFlow Serving shows none."""
    found, succeeded = trial.server_statistics, trial.requests.succeeded
    if not succeeded or trial.server_time_ms is not None or (found is None and trial.server.kind != "tfserving"):
        return None
    if found is None:
        why = f"no metrics on the port above {trial.server.url or 'gRPC'}"
        remedy = "start TF Serving with --monitoring_config_file, and --rest_api_port one above --port"
    elif counts_agree(found, succeeded):
        why, remedy = "the server's sums are too coarse, or exceed the service times", "send more requests"
    else:
        why = f"the server counted {found.counted.success} successes, this client {succeeded}"
        remedy = "keep other clients off the server, and fix what fails or is cancelled at its deadline"
    return Doubt(
        code="breakdown_unknown",
        sentence=f"service time has no breakdown: {why}",
        remedy=remedy,
        value=found.counted.success if found else None,
        limit=succeeded if found else None,
    )


def several_models(trial: TrialSummary) -> Doubt | None:
    names = [name for name in str((trial.server.config or {}).get("models", "")).split(",") if name]
    if len(names) < 2:
        return None
    return Doubt(
        code="several_models",
        sentence=f"the server held {len(names)} models at once: its memory is that of all of them",
        remedy="run one model at a time (-m) to read its memory",
        value=len(names),
        limit=1,
    )
