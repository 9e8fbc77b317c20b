"""Rows of telemetry as they are read, phase by phase, and what went wrong in reading them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from raybench.telemetry.telemetry_schema import OF_SERVER, SCHEMA, WARM, Value

_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class ReadingProblem:
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
    problems: tuple[ReadingProblem, ...]


class TelemetryBuffer:
    """Readings and problems so far; a reading outside of every phase is dropped. Threads may write at any time."""

    def __init__(self) -> None:
        self.phase: str | None = None
        self.problems: list[ReadingProblem] = []
        self._rows: list[dict[str, Value]] = []

    def start(self, phase: str) -> None:
        """Start a phase of another server: forget the one before, and its trials."""
        self._rows, self.phase = [], phase

    def set_phase(self, phase: str | None) -> None:
        """Go on to a phase, or to none; WARM begins another trial and drops the rows of the one before."""
        if phase == WARM:
            self._rows = [row for row in self._rows if row["phase"] in OF_SERVER]
        self.phase = phase

    def add(self, kind: str, reading: Mapping[str, Value]) -> None:
        """Keep a reading, by the columns of SCHEMA: `id` and what was read; `time_ns` is now where it has none."""
        if phase := self.phase:
            self._rows.append({"time_ns": time.time_ns(), "kind": kind, "phase": phase, **reading})

    def report_problem(self, source: str, text: str) -> None:
        """Note each kind of problem once: a driver that fails says so five times a second."""
        known = {(each.source, _kind(each.text)) for each in self.problems}
        if (source, _kind(text)) not in known and len(known) < _MOST_PROBLEMS:
            self.problems.append(ReadingProblem(time.time_ns(), source, text))

    def rows(self) -> pa.Table:
        return pa.Table.from_pylist(list(self._rows), schema=SCHEMA)


def _kind(text: str) -> str:
    """The words of a problem, without the details in parentheses."""
    return text.partition(" (")[0]
