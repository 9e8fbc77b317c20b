"""A results folder -> what was observed, as far as its files can be trusted; each that cannot is named."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from raybench.config import Benchmark, ConfigError, validation, yaml_file
from raybench.config.search_goal import Goal
from raybench.config.tuning_goal import TuningGoal
from raybench.results import ResultsError
from raybench.results.atomic_files import first_line
from raybench.results.damage import DamagedFile, damaged_file
from raybench.results.run_files import (
    ABOUT,
    BENCHMARK,
    SEARCH,
    TUNING,
    RunFile,
    benchmark_text,
    damaged_run_files,
    read_goal,
    read_run_file,
    read_tuning,
)
from raybench.results.run_info import Environment, RunInfo
from raybench.results.sealed_json import OtherSchemaError
from raybench.results.trial_files import (
    SAMPLES,
    TELEMETRY,
    TRIALS,
    ObservedTrial,
    StoredTrial,
    TrialFile,
    read_record,
    stored_trial,
    unfinished,
)

RUNNING = "running.json"
_Goal = TypeVar("_Goal", Goal, TuningGoal)


class Tuning(NamedTuple):
    """What was tuned for, and the benchmark that spans the configurations."""

    goal: TuningGoal
    benchmark: Benchmark


@dataclass(frozen=True)
class Results:
    """A results folder as loaded; trials in the order in which they ran.

    `damaged` are the files that cannot be trusted: nothing was taken from them. Where theirs are among them,
    `environment` is None, `benchmark`, the text of benchmark.yaml, is empty, and `run` has what the folder's name and
    the trials say.
    """

    folder: Path
    run: RunInfo
    environment: Environment | None
    trials: tuple[ObservedTrial | StoredTrial, ...]
    goal: Goal | None = None
    tuning: Tuning | None = None
    benchmark: str = ""
    damaged: tuple[DamagedFile, ...] = ()


def load(folder: Path) -> Results:
    """Read a results folder, finished or not.

    Raises ResultsError where there is nothing to read, and OtherSchemaError for one of another schema.
    """
    reading = _Reading(folder)
    about = reading.run_file()
    trials = reading.trials(about)
    if about is None and not trials:
        raise ResultsError(f"{folder}: is not a results folder that can be read: {reading.damaged[0]}")
    return Results(
        folder=folder,
        run=about.run if about else _run_of(folder, trials),
        environment=about.environment if about else None,
        trials=trials,
        goal=reading.goal(SEARCH, read_goal),
        tuning=reading.tuning(),
        benchmark=reading.benchmark(),
        damaged=tuple(reading.damaged),
    )


def listed(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder with this suffix, by their names; raises ResultsError where it cannot be listed."""
    try:
        found = [path for path in folder.iterdir() if path.suffix == suffix and not path.name.startswith(".")]
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be read: {first_line(error)}") from error
    return sorted(found)


class _Reading:
    """One pass over a folder, which notes what cannot be trusted and goes on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.damaged: list[DamagedFile] = []

    def run_file(self) -> RunFile | None:
        try:
            about = read_run_file(self._folder)
        except OtherSchemaError:
            raise
        except ResultsError as error:
            self._note(self._folder / ABOUT, error)
            return None
        self.damaged += damaged_run_files(self._folder, about)
        return about

    def trials(self, about: RunFile | None) -> tuple[ObservedTrial | StoredTrial, ...]:
        """Every trial; the one that is being measured is read first, because it may end meanwhile."""
        run_id = about.run_id if about else None
        cut, tables = self._running(run_id), self._tables()
        found = sorted(self._records(run_id), key=lambda each: (each.record.started, each.record.id))
        stored = [self._stored(each) for each in found if not (cut and _is_older(each, cut))]
        names = {trial.record.id for trial in stored}
        whole = (*stored, *([cut] if cut and cut.record.id not in names else []))
        self._note_missing(about, {trial.record.id for trial in whole}, tables)
        return whole

    def goal(self, name: str, read: Callable[[Path], _Goal | None]) -> _Goal | None:
        """What the file of this name says was looked for; None where there is none, or it cannot be trusted."""
        if self._is_damaged(name):
            return None
        try:
            return read(self._folder)
        except (OSError, ResultsError) as error:
            self._note(self._folder / name, error)
            return None

    def tuning(self) -> Tuning | None:
        """None where nothing was tuned, or the files that say so cannot be trusted."""
        goal = self.goal(TUNING, read_tuning)
        if goal is None or self._is_damaged(BENCHMARK):
            return None
        try:
            return Tuning(goal, validation.validated(yaml_file.read(self._folder / BENCHMARK)))
        except ConfigError as error:
            self._note(self._folder / BENCHMARK, error)
            return None

    def benchmark(self) -> str:
        if self._is_damaged(BENCHMARK):
            return ""
        try:
            return benchmark_text(self._folder)
        except ResultsError as error:
            self._note(self._folder / BENCHMARK, error)
            return ""

    def _running(self, run_id: str | None) -> ObservedTrial | None:
        """The trial that was being measured when the run was killed, or is now."""
        path = self._folder / RUNNING
        try:
            if path.exists():
                return unfinished(self._folder, read_record(path, run_id).record)
        except (OSError, ResultsError) as error:
            self._note(path, error)
        return None

    def _records(self, run_id: str | None) -> Iterator[TrialFile]:
        try:
            paths = listed(self._folder / TRIALS, ".json")
        except ResultsError as error:
            self._note(self._folder / TRIALS, error)
            return
        for path in paths:
            try:
                found = read_record(path, run_id)
                if found.record.id != path.stem:
                    raise ResultsError(f"{path}: is a copy of {found.record.id}.json: remove it, or give it that name")
                yield found
            except ResultsError as error:
                self._note(path, error)

    def _stored(self, found: TrialFile) -> ObservedTrial | StoredTrial:
        trial, damaged = stored_trial(self._folder, found)
        self.damaged += damaged
        return trial

    def _tables(self) -> list[Path]:
        """A folder of tables that cannot be listed is named with each of its files."""
        found: list[Path] = []
        for kind in (SAMPLES, TELEMETRY):
            with suppress(ResultsError):
                found += listed(self._folder / kind, ".parquet")
        return found

    def _note_missing(self, about: RunFile | None, there: set[str], tables: list[Path]) -> None:
        """Trials that the run had measured, and tables without the record that says what they are of."""
        known = there | {str(each.trial) for each in self.damaged}
        for name in sorted(set((about and about.measured) or ()) - known):
            self._note(self._folder / TRIALS / f"{name}.json", ResultsError("is missing, though it was measured"))
            known.add(name)
        for path in tables:
            if path.stem not in known:
                self._note(path, ResultsError(f"there is no {TRIALS}/{path.stem}.json that describes it"))

    def _is_damaged(self, name: str) -> bool:
        return any(each.path == name for each in self.damaged)

    def _note(self, path: Path, error: Exception) -> None:
        self.damaged.append(damaged_file(self._folder, path, error))


def _is_older(found: TrialFile, cut: ObservedTrial) -> bool:
    """Whether a trial on disk is being measured again."""
    return found.record.id == cut.record.id and found.record.started != cut.record.started


def _run_of(folder: Path, trials: tuple[ObservedTrial | StoredTrial, ...]) -> RunInfo:
    """What is known of a run whose environment.json is lost; its gates are not, and fail nothing."""
    started = min(trial.record.started for trial in trials)
    return RunInfo(name=folder.name, started=started, ended=None, command=(), max_error_rate=1.0)
