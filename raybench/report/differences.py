"""Two runs -> in what they differ besides their numbers: machine, versions, models, configuration; pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from raybench.report import Summary

MACHINE, VERSIONS, MODELS, CONFIGURATION = "machine", "versions", "models", "configuration"
_MACHINE = ("host", "os", "cpu", "cores", "memory_mib")
_CLUSTER = ("nodes", "cpus", "gpus")
_MODEL = ("version", "sha256", "precision", "xla")
_NOT_CONFIGURED = {"name", "out", "ui", "address", "threshold", "strict", "max_error_rate"}  # changes no measurement


class Difference(NamedTuple):
    """One thing that is not the same; None is not known."""

    kind: str
    name: str
    base: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {_word(self.base)} -> {_word(self.new)}"


class Run(NamedTuple):
    """A summary, and the benchmark that it is of."""

    summary: Summary
    benchmark: Mapping[str, Any]


def differences(base: Run, new: Run) -> tuple[Difference, ...]:
    """Every difference, the machine's first; of servers and models those that both runs have."""
    pairs = ((kind, _facts(kind, base), _facts(kind, new)) for kind in (MACHINE, VERSIONS, MODELS, CONFIGURATION))
    return tuple(
        Difference(kind, name, before.get(name), after.get(name))
        for kind, before, after in pairs
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and _is_of_both(name, before, after)
    )


def _is_of_both(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """What is told of a server or a model that only one run has is no difference: that it is there is one already."""
    owner = name.partition(": ")[0]
    return ": " not in name or all(any(key.startswith(f"{owner}: ") for key in side) for side in (before, after))


def _facts(kind: str, run: Run) -> dict[str, Any]:
    return dict({MACHINE: _machine, VERSIONS: _versions, MODELS: _models, CONFIGURATION: _configuration}[kind](run))


def _machine(run: Run) -> Iterator[tuple[str, Any]]:
    there = run.summary.environment
    yield from ((name, there.get(name)) for name in _MACHINE)
    yield from ((f"Ray's {name}", (there.get("ray_cluster") or {}).get(name)) for name in _CLUSTER)
    nodes = {worker["node"] for trial in run.summary.trials for worker in trial.workers}
    yield "hosts of the workers", ", ".join(sorted(nodes)) or None


def _versions(run: Run) -> Iterator[tuple[str, Any]]:
    there = run.summary.environment
    yield "python", there.get("python")
    yield from there.get("packages", {}).items()
    yield from ((f"{label}: version", server["version"]) for label, server in _servers(run))


def _models(run: Run) -> Iterator[tuple[str, Any]]:
    for trial in run.summary.trials:
        yield from ((f"{trial.model['name']}: {name}", trial.model[name]) for name in _MODEL)


def _configuration(run: Run) -> Iterator[tuple[str, Any]]:
    asked = {name: value for name, value in run.benchmark.items() if name not in _NOT_CONFIGURED}
    yield from _flat(asked)
    for label, server in _servers(run):
        told = {"launcher": server["launcher"], **(server["config"] or {})}
        yield from ((f"{label}: {name}", value) for name, value in _flat(told))


def _servers(run: Run) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each server by its label, as the last of its trials that knows its version saw it."""
    seen = {trial.label: trial.server for trial in run.summary.trials}
    yield from (seen | {trial.label: trial.server for trial in run.summary.trials if trial.server["version"]}).items()


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Mappings in mappings as dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "not known" if value is None else str(value)
