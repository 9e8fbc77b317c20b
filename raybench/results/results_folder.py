"""The results folder: what was observed, written once and atomically, and read back."""

import json
import re
import socket
import tempfile
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from raybench.config import Benchmark, ConfigError
from raybench.config.search_goal import Goal, goal
from raybench.results import ResultsError, json_records, run_info
from raybench.results.atomic_files import read_parquet, write, write_json, write_parquet
from raybench.results.growing_samples import path_of, read_growing
from raybench.results.records import TrialRecord
from raybench.results.run_info import Environment, RayClusterInfo, RunInfo
from raybench.telemetry import telemetry_schema

SCHEMA_VERSION = 5
_ABOUT, _RUNNING, _SEARCH = "environment.json", "running.json", "search.json"
_PROBE_BYTES = 2**20  # a run needs a little more than nothing
_NOT_READ = "is not a results folder that can be read"


@dataclass(frozen=True)
class ObservedTrial:
    """One trial: its record, its samples and its telemetry (Arrow), and whether the run ends with it."""

    record: TrialRecord
    samples: pa.Table
    telemetry: pa.Table
    was_interrupted: bool = False


@dataclass(frozen=True)
class StoredTrial:
    """A trial on disk: as ObservedTrial, but each use reads its table again, so that a report holds one at a time."""

    record: TrialRecord
    samples_path: Path
    telemetry_path: Path

    @property
    def samples(self) -> pa.Table:
        return read_parquet(self.samples_path)

    @property
    def telemetry(self) -> pa.Table:
        return read_parquet(self.telemetry_path)


@dataclass(frozen=True)
class Results:
    """A results folder as loaded; trials in the order in which they ran."""

    folder: Path
    run: RunInfo
    environment: Environment
    trials: tuple[ObservedTrial | StoredTrial, ...]
    goal: Goal | None = None


def check_out(benchmark: Benchmark) -> None:
    """Raise ConfigError where no results folder could be written, before any server starts."""
    out = Path(benchmark.out)
    try:
        above = (folder for folder in (out, *out.parents) if folder.exists() or folder.is_symlink())
        with tempfile.TemporaryFile(dir=next(above)) as probe:  # nothing is made before a refusal
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise ConfigError(
            f"out is {out}; nothing can be written there ({error.strerror}): name another folder, or make room"
        ) from error


def create(
    benchmark: Benchmark,
    command: list[str],
    *,
    ray_cluster: RayClusterInfo,
    unreadable_images: tuple[str, ...] = (),
    search: Goal | None = None,
) -> Path:
    """Make `<out>/<name>-<UTC stamp>/` with the resolved benchmark and the environment; raises ResultsError.

    `search` is what is searched for, kept in search.json.
    """
    stamp = datetime.now(UTC)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", benchmark.name).strip("-.") or "run"
    folder = _new_folder(Path(benchmark.out) / f"{safe}-{stamp:%Y%m%dT%H%M%S}Z")
    write(folder / "benchmark.yaml", yaml.safe_dump(benchmark.written(), sort_keys=False).encode())
    if search:
        write_json(folder / _SEARCH, asdict(search))
    run = RunInfo(
        name=benchmark.name,
        started=stamp.isoformat(timespec="seconds"),
        ended=None,
        command=tuple(command),
        baseline=benchmark.baseline,
        threshold=tuple(benchmark.threshold),
        max_error_rate=benchmark.max_error_rate,
        strict=benchmark.strict,
    )
    _write_about(folder, run, run_info.environment_here(ray_cluster, unreadable_images))
    return folder


def finished(folder: Path) -> frozenset[str]:
    """The ids of the trials of a run that need not be measured again.

    Raises ConfigError where it is no results folder, or where this is another machine or environment: numbers of two
    do not belong into one table.
    """
    try:
        _, there = _about(folder)
        ended = frozenset(record.id for record in _records(folder) if record.status != "interrupted")
        is_search = (folder / _SEARCH).exists()
    except (ResultsError, OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"resume is {folder}; it is not a results folder that can be read: {error}") from error
    if is_search:
        raise ConfigError(f"resume is {folder}; that was a search: start it anew")
    here = (socket.gethostname(), run_info.python_version(), run_info.package_versions())
    was = (there.host, there.python, dict(there.packages))
    for key, then, now in zip(("host", "python", "packages"), was, here, strict=True):
        if then != now:
            raise ConfigError(f"resume is {folder}; its {key} was {then}, here it is {now}: run anew")
    return ended


def resume(folder: Path, command: list[str]) -> Path:
    """Note that a run goes on."""
    run, environment = _about(folder)
    _write_about(folder, replace(run, ended=None, resumed=(*run.resumed, tuple(command))), environment)
    return folder


def seconds_per_request(out: Path) -> dict[str, float]:
    """By cell id, what a request took on the whole in the newest run below `out` that measured it."""
    known: dict[str, float] = {}
    for path in sorted(out.glob("*/summary.json"), key=lambda path: path.stat().st_mtime_ns):
        with suppress(OSError, ValueError, KeyError, TypeError):
            for trial in json.loads(path.read_text(encoding="utf-8"))["trials"]:
                if trial["job_s"]:
                    known[trial["cell"]] = trial["job_s"] / trial["requests"]["attempted"]
    return known


def write_running(folder: Path, record: TrialRecord) -> None:
    """Note the trial that is being measured, with the pids of all who take part, until `save` or the next one."""
    write_json(folder / _RUNNING, _versioned(record))


def note_loss(folder: Path, reason: str) -> None:
    """Say in the trial that was being measured why the run could not go on; nothing where there is none, or no room."""
    with suppress(ResultsError, OSError, ValueError):
        write_running(folder, replace(_record(folder / _RUNNING), reason=reason))


def save(folder: Path, observed: ObservedTrial) -> None:
    """Write one trial; the JSON comes last, so that a record on disk means that its tables are there."""
    name = observed.record.id
    write_parquet(folder / "samples" / f"{name}.parquet", observed.samples)
    write_parquet(folder / "telemetry" / f"{name}.parquet", observed.telemetry)
    write_json(folder / "trials" / f"{name}.json", _versioned(observed.record))
    (folder / _RUNNING).unlink(missing_ok=True)
    path_of(folder, name).unlink(missing_ok=True)


def finish(folder: Path) -> None:
    """Note the end of the run."""
    run, environment = _about(folder)
    _write_about(folder, replace(run, ended=datetime.now(UTC).isoformat(timespec="seconds")), environment)


def load(folder: Path) -> Results:
    """Read a results folder, finished or not; raises ResultsError where it is none."""
    try:
        records = sorted(_records(folder), key=lambda record: (record.started, record.id))
        run, environment = _about(folder)
        stored: list[ObservedTrial | StoredTrial] = [_stored(folder, record) for record in records]
        trials = (*stored, *_unfinished(folder, {record.id for record in records}))
        return Results(folder=folder, run=run, environment=environment, trials=trials, goal=_goal(folder))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{folder}: {_NOT_READ}: {error}") from error


def _goal(folder: Path) -> Goal | None:
    """What was searched for; None where it was a plain run."""
    path = folder / _SEARCH
    return goal(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def write_summary(folder: Path, summary: Mapping[str, object]) -> None:
    """Renew a results folder's summary.json; raises ResultsError."""
    write_json(folder / "summary.json", summary)


def write_report(folder: Path, page: str) -> Path:
    """Renew a results folder's report.html; raises ResultsError."""
    path = folder / "report.html"
    write(path, page.encode())
    return path


def benchmark_text(folder: Path) -> str:
    """benchmark.yaml as it stands; nothing where there is none."""
    path = folder / "benchmark.yaml"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _stored(folder: Path, record: TrialRecord) -> StoredTrial:
    samples_path, telemetry_path = (folder / kind / f"{record.id}.parquet" for kind in ("samples", "telemetry"))
    for path in (samples_path, telemetry_path):
        pq.read_metadata(path)  # the end of the file: an error now if it is not there or not whole
    return StoredTrial(record, samples_path, telemetry_path)


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
            raise ResultsError(f"{folder}: cannot be made: {error.strerror}") from error
    raise ResultsError(f"{wanted}: cannot be made: there are many of this name")


def _unfinished(folder: Path, ended: Container[str]) -> tuple[ObservedTrial, ...]:
    """The trial that was being measured when the run was killed, or is now, with its samples so far."""
    path = folder / _RUNNING
    if not path.exists() or (record := _record(path)).id in ended:  # killed between its last file and the removal
        return ()
    reason = record.reason or "it had not ended when this report was made"
    record = replace(record, ended=None, status="interrupted", reason=reason)
    telemetry = telemetry_schema.SCHEMA.empty_table()
    return (ObservedTrial(record=record, samples=read_growing(folder, record.id), telemetry=telemetry),)


def _records(folder: Path) -> list[TrialRecord]:
    return [_record(path) for path in (folder / "trials").glob("*.json")]


def _record(path: Path) -> TrialRecord:
    """A record on disk; raises ResultsError where it is of another schema, or against its own."""
    return json_records.from_json(_unversioned(path), str(path))


def _about(folder: Path) -> tuple[RunInfo, Environment]:
    """What is known of the run; raises ResultsError as _record does."""
    path = folder / _ABOUT
    about = _unversioned(path)
    run = json_records.read(RunInfo, about["run"], f"{path}: run")
    return run, json_records.read(Environment, about["environment"], f"{path}: environment")


def _write_about(folder: Path, run: RunInfo, environment: Environment) -> None:
    about = {"schema_version": SCHEMA_VERSION, "run": asdict(run), "environment": asdict(environment)}
    write_json(folder / _ABOUT, about)


def _versioned(record: TrialRecord) -> dict[str, object]:
    return {"schema_version": SCHEMA_VERSION, **json_records.to_json(record)}


def _unversioned(path: Path) -> dict[str, Any]:
    """A file of this schema without its version; raises ResultsError for one of another."""
    there = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(there, dict):
        raise ResultsError(f"{path.parent}: {_NOT_READ}: {path.name} is no JSON object")
    version = there.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        written = "an older schema" if version is None else f"schema {version}"  # up to 4 environment.json had none
        raise ResultsError(
            f"{path}: was written with {written}, this is {SCHEMA_VERSION}; read it with the raybench that wrote it"
        )
    return there
