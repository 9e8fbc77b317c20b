"""The results folder: what was observed, written once and atomically; and read back, as far as it can be trusted."""

import re
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import yaml

from raybench.config import Benchmark, ConfigError
from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal
from raybench.results import ResultsError, run_info
from raybench.results.atomic_files import sha256_of, write, write_json
from raybench.results.folder_reader import RUNNING, listed
from raybench.results.folder_reader import Results as Results
from raybench.results.folder_reader import load as load
from raybench.results.growing_samples import path_of
from raybench.results.records import TrialRecord
from raybench.results.run_files import BENCHMARK, SEARCH, TUNING, RunFile, read_run_file, run_id_of, write_run_file
from raybench.results.run_info import RayClusterInfo, RunInfo
from raybench.results.sealed_json import SCHEMA_VERSION as SCHEMA_VERSION
from raybench.results.trial_files import SAMPLES, TELEMETRY, TRIALS, TrialSeal, read_record, write_record, write_trial
from raybench.results.trial_files import ObservedTrial as ObservedTrial
from raybench.results.trial_files import StoredTrial as StoredTrial

_PROBE_BYTES = 2**20  # a run needs a little more than nothing


def check_out(benchmark: Benchmark) -> None:
    """Raise ConfigError where no results folder could be written, before any server starts."""
    out = Path(benchmark.out)
    try:
        above = (folder for folder in (out, *out.parents) if folder.exists() or folder.is_symlink())
        with tempfile.TemporaryFile(dir=next(above)) as probe:  # nothing is made before a refusal
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise ConfigError(
            f"out is {out}; it cannot be written ({error.strerror}): name another folder, or make room"
        ) from error


def create(
    benchmark: Benchmark,
    command: list[str],
    *,
    ray_cluster: RayClusterInfo,
    unreadable_images: tuple[str, ...] = (),
    goal: Goal | TuningGoal | None = None,
) -> Path:
    """Make `<out>/<name>-<UTC stamp>/` with the resolved benchmark and the environment; raises ResultsError.

    `goal` is what is searched for, kept in search.json or tuning.json.
    """
    stamp = datetime.now(UTC)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", benchmark.name).strip("-.") or "run"
    folder = _new_folder(Path(benchmark.out) / f"{safe}-{stamp:%Y%m%dT%H%M%S}Z")
    write_benchmark(folder / BENCHMARK, benchmark)
    kept = {Goal: SEARCH, TuningGoal: TUNING}.get(type(goal))
    if goal and kept:
        write_json(folder / kept, asdict(goal))
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
    about = RunFile(
        run=run,
        environment=run_info.environment_here(ray_cluster, unreadable_images),
        run_id=uuid.uuid4().hex,
        files={name: sha256_of(folder / name) for name in (BENCHMARK, *([kept] if kept else []))},
    )
    write_run_file(folder, about)
    return folder


def write_benchmark(path: Path, benchmark: Benchmark) -> None:
    """A benchmark as YAML, resolved; raises ResultsError."""
    write(path, yaml.safe_dump(benchmark.written(), sort_keys=False).encode())


def resume(folder: Path, command: list[str]) -> Path:
    """Note that a run goes on; raises ResultsError."""
    about = read_run_file(folder)
    run = replace(about.run, ended=None, resumed=(*about.run.resumed, tuple(command)))
    write_run_file(folder, replace(about, run=run, measured=None))
    return folder


def write_running(folder: Path, record: TrialRecord) -> None:
    """Note the trial that is being measured, with the pids of all who take part, until `save` or the next one."""
    write_record(folder / RUNNING, record, TrialSeal(run_id=run_id_of(folder)))


def note_loss(folder: Path, reason: str) -> None:
    """Say in the trial that was being measured why the run could not go on; nothing where there is none, or no room."""
    with suppress(ResultsError, OSError, ValueError):
        found = read_record(folder / RUNNING, None)
        write_record(folder / RUNNING, replace(found.record, reason=reason), found.seal)


def save(folder: Path, observed: ObservedTrial) -> None:
    """Write one trial; raises ResultsError."""
    write_trial(folder, observed, run_id_of(folder))
    (folder / RUNNING).unlink(missing_ok=True)
    path_of(folder, observed.record.id).unlink(missing_ok=True)


def discard(folder: Path, trials: Iterable[str]) -> None:
    """Remove trials that are to be measured again; raises ResultsError."""
    try:
        for trial in trials:
            for name in (f"{TRIALS}/{trial}.json", f"{SAMPLES}/{trial}.parquet", f"{TELEMETRY}/{trial}.parquet"):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be written: {error.strerror}") from error


def finish(folder: Path) -> None:
    """Note the end of the run, and which trials there are then; raises ResultsError."""
    about = read_run_file(folder)
    run = replace(about.run, ended=datetime.now(UTC).isoformat(timespec="seconds"))
    measured = tuple(path.stem for path in listed(folder / TRIALS, ".json"))
    write_run_file(folder, replace(about, run=run, measured=measured))


def write_summary(folder: Path, summary: Mapping[str, object]) -> None:
    """Renew a results folder's summary.json; raises ResultsError."""
    write_json(folder / "summary.json", summary)


def write_report(folder: Path, page: str) -> Path:
    """Renew a results folder's report.html; raises ResultsError."""
    path = folder / "report.html"
    write(path, page.encode())
    return path


def _new_folder(wanted: Path) -> Path:
    """The folder, or one beside it where another run of this name began in the same second."""
    for folder in (wanted, *(wanted.with_name(f"{wanted.name}-{n}") for n in range(2, 100))):
        try:
            folder.mkdir(parents=True)
            for name in (TRIALS, SAMPLES, TELEMETRY):
                (folder / name).mkdir()
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise ResultsError(f"{folder}: cannot be made: {error.strerror}") from error
    raise ResultsError(f"{wanted}: cannot be made: too many have this name")
