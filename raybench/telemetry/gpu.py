"""GPUs and the processes on them, as long-lived nvidia-smi processes print them."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf

from raybench.processes import stop_supervised, supervised
from raybench.telemetry.telemetry_schema import Value

NVIDIA_SMI = "nvidia-smi"
_STOP_S = 5.0
_LONGEST = 200
# What it prints in place of a value that there is none of, and of one that should be there.
_NONE = {"[N/A]", "N/A", "[Not Supported]", "[No data]", "[Insufficient Permissions]", "[Not Found]"}
_FAULT = re.compile(r"\[(GPU is lost|Unknown Error|GPU requires reset)\]|ERR!", re.I)
_COMPLAINTS = (  # the first that fits names it
    ("couldn't communicate with the NVIDIA driver", "the NVIDIA driver does not answer"),
    ("version mismatch", "the NVIDIA driver and its library are of different versions"),
    ("No devices were found", "there is no GPU"),
    ("GPU is lost", "a GPU has fallen off the bus"),
    ("Unable to determine the device handle", "a GPU has fallen off the bus"),
    ("requires reset", "a GPU must be reset"),
    ("reset required", "a GPU must be reset"),
    ("Unknown Error", "a GPU answers with an unknown error"),
    ("ERR!", "a GPU answers with an error"),
)


@dataclass(frozen=True)
class SmiQuery:
    """A query of nvidia-smi: each field by its name in the query, in its column's head, and in a row of telemetry."""

    flag: str
    interval_ms: int
    columns: tuple[tuple[str, str, str], ...]
    is_id: re.Pattern[str]
    may_have_commas: str | None = None

    @property
    def command(self) -> list[str]:
        asked = ",".join(word for word, _, _ in self.columns)
        return [NVIDIA_SMI, f"{self.flag}={asked}", "--format=csv,nounits", f"--loop-ms={self.interval_ms}"]


GPUS = SmiQuery(
    flag="--query-gpu",
    interval_ms=200,
    columns=(
        ("timestamp", "timestamp", "time_ns"),
        ("uuid", "uuid", "id"),
        ("memory.used", "memory.used [MiB]", "gpu_used_mib"),
        ("memory.total", "memory.total [MiB]", "gpu_total_mib"),
        ("utilization.gpu", "utilization.gpu [%]", "gpu_utilization_pct"),
        ("power.draw", "power.draw [W]", "gpu_power_w"),
        ("clocks.sm", "clocks.current.sm [MHz]", "gpu_sm_clock_mhz"),
        ("temperature.gpu", "temperature.gpu", "gpu_temperature_c"),
    ),
    is_id=re.compile(r"(GPU|MIG)-[0-9a-f-]+", re.I),
)
PROCESSES = SmiQuery(
    flag="--query-compute-apps",
    interval_ms=1000,
    columns=(
        ("timestamp", "timestamp", "time_ns"),
        ("gpu_uuid", "gpu_uuid", "gpu"),
        ("pid", "pid", "id"),
        ("process_name", "process_name", "name"),
        ("used_gpu_memory", "used_gpu_memory [MiB]", "gpu_used_mib"),
    ),
    is_id=re.compile(r"\d+"),
    may_have_commas="name",
)
_TEXTS, _NEEDED = {"id", "gpu", "name"}, {"time_ns", "id", "gpu_used_mib"}
GpuRow = dict[str, Value]


class SmiParser:
    """The lines of one nvidia-smi, in order: its head says what is in them."""

    def __init__(self, query: SmiQuery) -> None:
        self._query = query
        self._names: list[str] = []

    def parse(self, line: str) -> tuple[GpuRow | None, str | None]:
        """A row of telemetry, by the names of its columns, and what is wrong, as a sentence; either may be None.

        A value that there is none of is None; so is one that cannot be read, which is wrong besides.
        """
        line = line.strip()
        if not line:
            return None, None
        if line.startswith("timestamp,"):
            return None, self._head(line)
        parts = self._split(line)
        if len(parts) != len(self._names) or len(parts) < len(_NEEDED):
            return None, _unreadable(line)
        return self._row(dict(zip(self._names, parts, strict=True)), line)

    def _head(self, line: str) -> str | None:
        """Without the needed columns nothing of what follows is read; without another it is, and that one is null."""
        ours = {head: name for _, head, name in self._query.columns}
        heads = line.split(", ")
        self._names = [ours.get(head, "") for head in heads]
        if _NEEDED - set(self._names):
            self._names = []
        elif "" not in self._names:
            return None
        return f"it prints a format that raybench does not know ({line[:_LONGEST]})"

    def _split(self, line: str) -> list[str]:
        """A process may have commas in its name."""
        parts, name = line.split(", "), self._query.may_have_commas
        surplus = len(parts) - len(self._names)
        if name is None or name not in self._names or surplus <= 0:
            return parts
        at = self._names.index(name)
        return [*parts[:at], ", ".join(parts[at : at + surplus + 1]), *parts[at + surplus + 1 :]]

    def _row(self, texts: dict[str, str], line: str) -> tuple[GpuRow | None, str | None]:
        texts.pop("", None)
        time_ns = _time_ns(texts.pop("time_ns"))
        if time_ns is None or not self._query.is_id.fullmatch(texts["id"]):
            return None, _unreadable(line)
        row: GpuRow = {"time_ns": time_ns}
        problem = None
        for name, text in texts.items():
            row[name] = _text(text) if name in _TEXTS else _number(text)
            if _FAULT.fullmatch(text):
                problem = f"{_fault_name(text)} ({texts['id']})"
            elif row[name] is None and text not in _NONE:
                problem = f"it printed something that is not a number ({line[:_LONGEST]})"
        return row, problem


@dataclass
class GpuStream:
    """A running nvidia-smi: when it last printed something, and how many rows it gave."""

    query: SmiQuery
    rows: int = 0
    heard_s: float = field(default_factory=time.monotonic)
    has_ended: bool = False

    @property
    def silent_s(self) -> float:
        return time.monotonic() - self.heard_s


@contextmanager
def streaming(
    query: SmiQuery, on_row: Callable[[GpuRow], None], on_problem: Callable[[str], None]
) -> Iterator[GpuStream]:
    """Rows of this host's GPUs, as nvidia-smi prints them, until the block ends or nvidia-smi does: then a problem.

    Call it where there is an nvidia-smi, on the main thread. The callbacks are called on a thread of its own.
    """
    stream, is_over = GpuStream(query), threading.Event()
    process = _start(query)
    reader = threading.Thread(target=_read, args=(process, stream, is_over, on_row, on_problem), daemon=True)
    reader.start()
    try:
        yield stream
    finally:
        is_over.set()
        stop_supervised(process, _STOP_S)  # with a driver that hangs, nvidia-smi ignores SIGTERM
        reader.join(_STOP_S)


def _start(query: SmiQuery) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        supervised(query.command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "TZ": "UTC"},  # its timestamps have no zone
    )


def _read(
    process: "subprocess.Popen[str]",
    stream: GpuStream,
    is_over: threading.Event,
    on_row: Callable[[GpuRow], None],
    on_problem: Callable[[str], None],
) -> None:
    """Parse what an nvidia-smi prints until it ends; that is a problem too, unless we ended it."""
    parser, last_problem = SmiParser(stream.query), ""
    for line in process.stdout or ():
        stream.heard_s = time.monotonic()
        row, problem = parser.parse(line)
        if row:
            stream.rows += 1
            on_row(row)
        if problem and not is_over.is_set():
            last_problem = problem
            on_problem(problem)
    stream.has_ended = True
    if not is_over.is_set():
        on_problem(f"it ended with exit code {process.wait()}" + (f": {last_problem}" if last_problem else ""))


def is_here() -> bool:
    return shutil.which(NVIDIA_SMI) is not None


def _time_ns(text: str) -> int | None:
    """Such as 2026/11/22 13:53:58.894, in UTC."""
    try:
        at = datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
    return round(at.timestamp() * 1e3) * 10**6


def _text(text: str) -> str | None:
    return None if text in _NONE else text


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < inf else None


def _unreadable(line: str) -> str:
    return f"{_fault_name(line)} ({line[:_LONGEST]})"


def _fault_name(text: str) -> str:
    named = (said for words, said in _COMPLAINTS if words.lower() in text.lower())
    return next(named, "it printed something that is not a reading")
