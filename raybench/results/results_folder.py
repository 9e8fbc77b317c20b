"""The results folder: what was observed, written once and atomically, and read back."""

import json
import os
import platform
import re
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pyarrow.dataset import dataset

from raybench.config import Benchmark, ConfigError
from raybench.config.search_goal import Goal, goal
from raybench.results import samples
from raybench.telemetry import telemetry_schema

SCHEMA_VERSION = 4
_RUNNING, _SEARCH = "running.json", "search.json"
_POOL = pa.system_memory_pool()  # gives back what is freed, where Arrow's own keeps it for its next table
_PROBE_BYTES = 2**20  # a run needs a little more than nothing
_PACKAGES = ("raybench", "ray", "tensorflow", "keras", "tritonclient", "nvidia-pytriton", "grpcio", "numpy", "pyarrow")


class StoreError(Exception):
    """A results folder that cannot be read or written: one sentence."""


@dataclass(frozen=True)
class Observed:
    """One trial: its record (JSON), its samples and its telemetry (Arrow)."""

    record: dict[str, Any]
    samples: pa.Table
    telemetry: pa.Table


@dataclass(frozen=True)
class Stored:
    """A trial on disk: as Observed, but each use reads its table anew, so that a report holds one trial at a time."""

    record: dict[str, Any]
    samples_path: Path
    telemetry_path: Path

    @property
    def samples(self) -> pa.Table:
        return _read_parquet(self.samples_path)

    @property
    def telemetry(self) -> pa.Table:
        return telemetry_schema.completed(_read_parquet(self.telemetry_path))


@dataclass(frozen=True)
class Results:
    """A results folder as loaded; trials in the order in which they ran."""

    folder: Path
    run: dict[str, Any]
    environment: dict[str, Any]
    trials: tuple[Observed | Stored, ...]
    goal: Goal | None = None


def check_out(benchmark: Benchmark) -> None:
    """Raise ConfigError where no results folder could be written: told before the servers start."""
    out = Path(benchmark.out)
    try:
        above = (folder for folder in (out, *out.parents) if folder.exists() or folder.is_symlink())
        with tempfile.TemporaryFile(dir=next(above)) as probe:  # nothing is made before a refusal
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise ConfigError(
            f"out is {out}; nothing can be written there ({error.strerror}): name another folder, or make room"
        ) from error


def create(benchmark: Benchmark, command: list[str], *, facts: dict[str, Any], search: Goal | None = None) -> Path:
    """Make `<out>/<name>-<UTC stamp>/` with the resolved benchmark and the environment; raises StoreError.

    `facts` are what else is known of the environment, such as the Ray cluster; `search` is kept in search.json.
    """
    stamp = datetime.now(UTC)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", benchmark.name).strip("-.") or "run"
    folder = _new_folder(Path(benchmark.out) / f"{safe}-{stamp:%Y%m%dT%H%M%S}Z")
    _write(folder / "benchmark.yaml", yaml.safe_dump(benchmark.written(), sort_keys=False).encode())
    if search:
        _write_json(folder / _SEARCH, asdict(search))
    environment = {**_environment(), **facts}
    started = stamp.isoformat(timespec="seconds")
    run = {"name": benchmark.name, "started": started, "ended": None, "command": command, "resumed": []}
    run |= {"baseline": benchmark.baseline, "threshold": list(benchmark.threshold)}
    _write_json(folder / "environment.json", {"run": run, "environment": environment})
    return folder


def finished(folder: Path) -> frozenset[str]:
    """The ids of the trials of a run that need not be measured again.

    Raises ConfigError where it is no results folder, or where this is another machine or environment: numbers of two
    do not belong into one table.
    """
    try:
        there = json.loads((folder / "environment.json").read_text())["environment"]
        records = [json.loads(path.read_text()) for path in (folder / "trials").glob("*.json")]
        ended = frozenset(record["id"] for record in records if record["status"] != "interrupted")
        is_search = (folder / _SEARCH).exists()
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"resume is {folder}; it is not a results folder that can be read: {error}") from error
    if is_search:
        raise ConfigError(f"resume is {folder}; that was a search: start it anew")
    here = _environment()
    for key in ("host", "python", "packages"):
        if here[key] != there.get(key):
            raise ConfigError(f"resume is {folder}; its {key} was {there.get(key)}, here it is {here[key]}: run anew")
    return ended


def resume(folder: Path, command: list[str]) -> Path:
    """Note that a run goes on."""
    about = json.loads((folder / "environment.json").read_text())
    about["run"] |= {"ended": None, "resumed": [*about["run"]["resumed"], command]}
    _write_json(folder / "environment.json", about)
    return folder


def seconds_per_request(out: Path) -> dict[str, float]:
    """By cell id, what a request took on the whole in the newest run below `out` that measured it."""
    known: dict[str, float] = {}
    for path in sorted(out.glob("*/summary.json"), key=lambda path: path.stat().st_mtime_ns):
        with suppress(OSError, ValueError, KeyError, TypeError):
            for trial in json.loads(path.read_text())["trials"]:
                if trial["job_s"]:
                    known[trial["cell"]] = trial["job_s"] / trial["requests"]["attempted"]
    return known


def announce(folder: Path, record: dict[str, Any]) -> None:
    """Note the trial that is being measured, with the pids of all who take part, until `save` or the next one."""
    _write_json(folder / _RUNNING, {"schema_version": SCHEMA_VERSION, **record})


def save(folder: Path, observed: Observed) -> None:
    """Write one trial; the JSON comes last, so that a record on disk means that its tables are there."""
    name = observed.record["id"]
    _write_parquet(folder / "samples" / f"{name}.parquet", observed.samples)
    _write_parquet(folder / "telemetry" / f"{name}.parquet", observed.telemetry)
    _write_json(folder / "trials" / f"{name}.json", {"schema_version": SCHEMA_VERSION, **observed.record})
    (folder / _RUNNING).unlink(missing_ok=True)


def finish(folder: Path) -> None:
    """Note the end of the run."""
    about = json.loads((folder / "environment.json").read_text())
    about["run"]["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
    _write_json(folder / "environment.json", about)


def load(folder: Path) -> Results:
    """Read a results folder, finished or not; raises StoreError where it is none."""
    try:
        about = json.loads((folder / "environment.json").read_text())
        records = [json.loads(path.read_text()) for path in (folder / "trials").glob("*.json")]
        for record in records:
            if record["schema_version"] != SCHEMA_VERSION:
                raise StoreError(
                    f"{folder}: was written with schema {record['schema_version']}, this is {SCHEMA_VERSION}"
                )
        records.sort(key=lambda record: (record["started"], record["id"]))
        stored: list[Observed | Stored] = [_stored(folder, record) for record in records]
        trials = (*stored, *_unfinished(folder))
        run = {"baseline": None, "threshold": [], **about["run"]}  # which folders from before there were any lack
        return Results(folder=folder, run=run, environment=about["environment"], trials=trials, goal=_goal(folder))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{folder}: is not a results folder that can be read: {error}") from error


def _goal(folder: Path) -> Goal | None:
    """What was searched for; None where it was a plain run."""
    path = folder / _SEARCH
    return goal(json.loads(path.read_text())) if path.exists() else None


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    _write_json(folder / "summary.json", summary)


def write_report(folder: Path, page: str) -> Path:
    """Renew a results folder's report.html; raises StoreError."""
    path = folder / "report.html"
    _write(path, page.encode())
    return path


def benchmark_text(folder: Path) -> str:
    """benchmark.yaml as it stands; nothing where there is none."""
    path = folder / "benchmark.yaml"
    return path.read_text() if path.exists() else ""


def _stored(folder: Path, record: dict[str, Any]) -> Stored:
    samples_path, telemetry_path = (folder / kind / f"{record['id']}.parquet" for kind in ("samples", "telemetry"))
    for path in (samples_path, telemetry_path):
        pq.read_metadata(path)  # the end of the file: told now if it is not there or not whole
    return Stored(record, samples_path, telemetry_path)


def _new_folder(wanted: Path) -> Path:
    """The folder, or one beside it where another run of this name began in the same second."""
    for folder in (wanted, *(wanted.with_name(f"{wanted.name}-{n}") for n in range(2, 100))):
        try:
            folder.mkdir(parents=True)
            for name in ("trials", "samples", "telemetry"):
                (folder / name).mkdir()
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise StoreError(f"{folder}: cannot be made: {error.strerror}") from error
    raise StoreError(f"{wanted}: cannot be made: there are many of this name")


def _unfinished(folder: Path) -> tuple[Observed, ...]:
    """The trial that was being measured when the run was killed, or is now: a row without numbers."""
    try:
        record = json.loads((folder / _RUNNING).read_text())
    except FileNotFoundError:
        return ()
    record |= {"ended": None, "status": "interrupted", "reason": "it had not ended when this report was made"}
    record["workers"] = []
    return (Observed(record=record, samples=samples.merge([]), telemetry=telemetry_schema.SCHEMA.empty_table()),)


def _environment() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "python": sys.version.split()[0],
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_mib": round(psutil.virtual_memory().total / 2**20),
        "packages": {name: version_of(name) for name in _PACKAGES},
    }


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def version_of(package: str) -> str | None:
    """A package's version here; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read_parquet(path: Path) -> pa.Table:
    try:
        return dataset(path).to_table(memory_pool=_POOL)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def _write_parquet(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    _write(path, sink.getvalue().to_pybytes())


def _write_json(path: Path, value: dict[str, Any]) -> None:
    _write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    """Beside, then in place: a reader never sees half a file. Raises StoreError, with nothing half-written left."""
    scratch = path.with_name(f".{path.name}.tmp")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error.strerror}; what was measured before is intact") from error
