"""The files of a results folder that are of the whole run: environment.json, benchmark.yaml and the goal's."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal
from raybench.results import ResultsError, json_records
from raybench.results.atomic_files import read_bytes, read_json, sha256_of
from raybench.results.damage import DamagedFile, damaged_file
from raybench.results.run_info import Environment, RunInfo
from raybench.results.sealed_json import read_sealed, write_sealed

ABOUT, BENCHMARK, SEARCH, TUNING = "environment.json", "benchmark.yaml", "search.json", "tuning.json"
DEPLOY = "deploy"  # the folder with the files of a tuning's best configuration
_MOST_BENCHMARK_BYTES = 2**16


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """What environment.json holds; None is not known.

    `run_id` is in the files of each trial too, so that none is taken for one of another run. `files` are the SHA-256
    of benchmark.yaml and of search.json or tuning.json, `measured` the ids of the trials that there were when the run
    ended.
    """

    run: RunInfo
    environment: Environment
    run_id: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    measured: tuple[str, ...] | None = None


def write_run_file(folder: Path, about: RunFile) -> None:
    """Raises ResultsError."""
    write_sealed(folder / ABOUT, asdict(about))


def read_run_file(folder: Path) -> RunFile:
    """Raises OtherSchemaError for a folder of another schema, and ResultsError where the file cannot be trusted."""
    path = folder / ABOUT
    return json_records.read(RunFile, read_sealed(path).content, str(path))


def run_id_of(folder: Path) -> str | None:
    """None where it is not known: a trial that was measured is kept, whatever became of the folder's other files."""
    try:
        return read_run_file(folder).run_id
    except ResultsError:
        return None


def damaged_run_files(folder: Path, about: RunFile) -> Iterator[DamagedFile]:
    """Which of benchmark.yaml, search.json and tuning.json are not as the run wrote them."""
    for name, written in about.files.items():
        try:
            if sha256_of(folder / name) != written:
                raise ResultsError(f"{folder / name}: is damaged or was edited: it does not match its SHA-256")
        except ResultsError as error:
            yield damaged_file(folder, folder / name, error)


def benchmark_text(folder: Path) -> str:
    """benchmark.yaml as it stands; raises ResultsError."""
    path = folder / BENCHMARK
    try:
        return read_bytes(path, most=_MOST_BENCHMARK_BYTES).decode()
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path}: is not UTF-8 text") from error


def read_goal(folder: Path) -> Goal | None:
    """What was searched for; None where it was a plain run. Raises ResultsError."""
    path = folder / SEARCH
    return json_records.read(Goal, read_json(path), str(path)) if path.exists() else None


def read_tuning(folder: Path) -> TuningGoal | None:
    """What was tuned for; None where nothing was. Raises ResultsError."""
    path = folder / TUNING
    return json_records.read(TuningGoal, read_json(path), str(path)) if path.exists() else None
