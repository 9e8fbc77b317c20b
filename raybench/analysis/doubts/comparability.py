"""Servers that are compared: doubts where their settings differ; pure."""

from collections.abc import Iterable

from raybench.analysis.comparisons import pairs
from raybench.analysis.doubt import Doubt
from raybench.analysis.trial_summary import TrialSummary
from raybench.config import GRPC, IN_MEMORY, IN_PROCESS, OWN_CLIENT
from raybench.telemetry.effective_config import EffectiveConfig

# What should be the same on both sides, and how a difference reads; None is not known, and not doubted.
_ALIKE = {
    "tensorflow": "TensorFlow {} against {}",
    "precision": "precision {} against {}",
    "xla": "XLA {} against {}",
    "intra_op_threads": "{} against {} threads per operation",
    "response_cache": "response cache {} against {}",
    "gpu_allocator": "GPU memory from {} against {}",
}
_IN_LABELS = {"intra_op_threads": "intra="}  # what the benchmark itself asked for stands there


def bases(trials: Iterable[TrialSummary], baseline: str | None = None) -> dict[str, TrialSummary]:
    """By its id, the trial that each one is compared with, for those that are."""
    return {
        pair.server[n].id: pair.base[n]
        for pair in pairs(trials, baseline)
        for n in pair.server.keys() & pair.base.keys()
    }


def unequal_servers(server: TrialSummary, base: TrialSummary) -> Doubt | None:
    """How a server differs from the one it is compared with, apart from what the benchmark asked for."""
    ours, theirs = executions(server), executions(base)
    are_known = ours is not None and theirs is not None and not _are_chosen(server, base)
    is_busier = are_known and ours != theirs
    busier = [f"{ours} against {theirs} executions at a time"] if is_busier else []
    found = busier + _differences(server, base) + _transports(server, base)
    if not found:
        return None
    return Doubt(
        code="unequal_servers",
        sentence=f"not set up like {base.label}: {', '.join(found)}",
        remedy="set both servers up alike, or read the ratio as one of two setups",
        value=ours if is_busier else None,
        limit=theirs if is_busier else None,
    )


def executions(trial: TrialSummary) -> int | None:
    """How many requests the server computes at a time under this load; None where it does not say."""
    most = _effective(trial).executions_at_once
    return None if most is None else min(most, trial.load.in_flight)


def _effective(trial: TrialSummary) -> EffectiveConfig:
    return trial.server.effective or EffectiveConfig()


def _are_chosen(server: TrialSummary, base: TrialSummary) -> bool:
    """Whether the benchmark itself asked for these numbers of instances: they stand in the labels."""
    return server.server.instances is not None and base.server.instances is not None


def _differences(server: TrialSummary, base: TrialSummary) -> list[str]:
    asked = {word for label in (server.label, base.label) for word in label.split()}
    compared = [name for name in _ALIKE if not any(word.startswith(_IN_LABELS.get(name, " ")) for word in asked)]
    both = {name: (getattr(_effective(server), name), getattr(_effective(base), name)) for name in compared}
    return [
        _ALIKE[name].format(_word(ours), _word(theirs))
        for name, (ours, theirs) in both.items()
        if ours is not None and theirs is not None and ours != theirs
    ]


def _transports(server: TrialSummary, base: TrialSummary) -> list[str]:
    """Other protocols, clients, or shared memory against a network; a server in process has none of them, which is why
    it is compared."""
    ours, theirs = _reached(server), _reached(base)
    if ours == theirs or IN_PROCESS in (server.load.transport, base.load.transport):
        return []
    return [f"reached by {ours} against {theirs}"]


def _reached(trial: TrialSummary) -> str:
    """Such as grpc, http over TLS, shared memory, http with shared memory or grpc by grpcio."""
    load = trial.load
    is_named = load.transport not in IN_MEMORY or load.protocol == GRPC
    way = load.transport if is_named else f"{load.protocol} with {load.transport}"
    return way if load.client == OWN_CLIENT else f"{way} by {load.client}"


def _word(value: str | int | bool) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
