"""Rows of telemetry as they are read, phase by phase, and what went wrong in reading them."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from raybench.telemetry.telemetry_schema import OF_SERVER, SCHEMA, WARM

_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Problem:
    """What could not be read, and since when: the source and a sentence."""

    time_ns: int
    source: str
    text: str


@dataclass(frozen=True)
class Telemetry:
    """Rows of SCHEMA, the host that was read (None: none), what spoke for its GPUs (None: nothing), and problems."""

    rows: pa.Table
    node: str | None
    gpu_source: str | None
    problems: tuple[Problem, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """All but the rows, as JSON has it."""
        return {"node": self.node, "gpu_source": self.gpu_source, "problems": [asdict(each) for each in self.problems]}


class Journal:
    """What is read while there is no phase is not kept. Threads may write at any time."""

    def __init__(self) -> None:
        self.phase: str | None = None
        self.problems: list[Problem] = []
        self._rows: list[dict[str, Any]] = []

    def begin(self, phase: str) -> None:
        """Forget the server before, and its trials."""
        self._rows, self.phase = [], phase

    def enter(self, phase: str | None) -> None:
        """Begin a phase; with WARM another trial begins, and the one before is forgotten."""
        if phase == WARM:
            self._rows = [row for row in self._rows if row["phase"] in OF_SERVER]
        self.phase = phase

    def add(self, kind: str, id: str, **values: Any) -> None:
        if phase := self.phase:
            self._rows.append({"time_ns": time.time_ns(), "kind": kind, "id": id, "phase": phase, **values})

    def complain(self, source: str, text: str) -> None:
        """Each kind of complaint once: a driver that fails says so five times a second."""
        known = {(each.source, _kind(each.text)) for each in self.problems}
        if (source, _kind(text)) not in known and len(known) < _MOST_PROBLEMS:
            self.problems.append(Problem(time.time_ns(), source, text))

    def rows(self) -> pa.Table:
        return pa.Table.from_pylist(list(self._rows), schema=SCHEMA)


def _kind(text: str) -> str:
    """The words of a complaint, without the details in parentheses."""
    return text.partition(" (")[0]
