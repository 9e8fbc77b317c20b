"""Two runs -> in what they differ besides their numbers: machine, versions, models, configuration; pure."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import NamedTuple

from raybench.analysis.summary import Summary
from raybench.results.records import ServerRecord

MACHINE, VERSIONS, MODELS, CONFIGURATION = "machine", "versions", "models", "configuration"
_MACHINE = ("host", "os", "cpu", "cores", "memory_mib")
_CLUSTER = ("nodes", "cpus", "gpus")
_MODEL = ("version", "sha256", "precision", "xla")
_NOT_CONFIGURED = {"name", "out", "ui", "address", "threshold", "strict", "max_error_rate"}  # changes no measurement


class Difference(NamedTuple):
    """One thing that is not the same; None is not known."""

    kind: str
    name: str
    base: object
    new: object

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {_word(self.base)} -> {_word(self.new)}"


class ComparedRun(NamedTuple):
    """A summary, and the benchmark that it is of: empty where it is not known."""

    summary: Summary
    benchmark: Mapping[str, object]


def differences(base: ComparedRun, new: ComparedRun) -> tuple[Difference, ...]:
    """Every difference, the machine's first; of servers, models and files those that both runs have."""
    base, new = _as_known(base, new), _as_known(new, base)
    pairs = ((kind, _facts(kind, base), _facts(kind, new)) for kind in (MACHINE, VERSIONS, MODELS, CONFIGURATION))
    return tuple(
        Difference(kind, name, before.get(name), after.get(name))
        for kind, before, after in pairs
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and _is_of_both(name, before, after)
    )


def _as_known(run: ComparedRun, other: ComparedRun) -> ComparedRun:
    """A run without what is not known of the other, whose file is damaged: not known is no difference."""
    benchmark = run.benchmark if other.benchmark else {}
    environment = run.summary.environment if other.summary.environment else None
    return ComparedRun(replace(run.summary, environment=environment), benchmark)


def _is_of_both(name: str, before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    """A fact of a server or a model that only one run has is no difference: its presence is one already."""
    owner = name.partition(": ")[0]
    return ": " not in name or all(any(key.startswith(f"{owner}: ") for key in side) for side in (before, after))


def _facts(kind: str, run: ComparedRun) -> dict[str, object]:
    return dict({MACHINE: _machine, VERSIONS: _versions, MODELS: _models, CONFIGURATION: _configuration}[kind](run))


def _machine(run: ComparedRun) -> Iterator[tuple[str, object]]:
    if there := run.summary.environment:
        yield from ((name, getattr(there, name)) for name in _MACHINE)
        yield from ((f"Ray's {name}", getattr(there.ray_cluster, name)) for name in _CLUSTER)
    nodes = {worker.node for trial in run.summary.trials for worker in trial.workers}
    yield "hosts of the workers", ", ".join(sorted(nodes)) or None


def _versions(run: ComparedRun) -> Iterator[tuple[str, object]]:
    if there := run.summary.environment:
        yield "python", there.python
        yield from there.packages.items()
    yield from ((f"{label}: version", server.version) for label, server in _servers(run))


def _models(run: ComparedRun) -> Iterator[tuple[str, object]]:
    for trial in run.summary.trials:
        yield from ((f"{trial.model.name}: {name}", getattr(trial.model, name)) for name in _MODEL)


def _configuration(run: ComparedRun) -> Iterator[tuple[str, object]]:
    asked = {name: value for name, value in run.benchmark.items() if name not in _NOT_CONFIGURED}
    yield from _flat(asked)
    for label, server in _servers(run):
        yield from ((f"{label}: {name}", value) for name, value in _flat(_settings(server)))


def _servers(run: ComparedRun) -> Iterator[tuple[str, ServerRecord]]:
    """Each server by its label, as the last of its trials that knows its version saw it."""
    seen = {trial.label: trial.server for trial in run.summary.trials}
    yield from (seen | {trial.label: trial.server for trial in run.summary.trials if trial.server.version}).items()


def _settings(server: ServerRecord) -> dict[str, object]:
    effective = {"effective": asdict(server.effective)} if server.effective else {}
    return {"launcher": server.launcher, **(server.config or {}), **effective}


def _flat(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """Mappings in mappings as dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "not known" if value is None else str(value)
