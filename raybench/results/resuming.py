"""A results folder of a run that was cut off -> what is left to measure, checked before anything starts."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryFile

from raybench import config
from raybench.config import Benchmark, ConfigError, plan
from raybench.config.plan import Trial
from raybench.results import ResultsError, run_info
from raybench.results.atomic_files import first_line
from raybench.results.damage import OtherSchemaFile
from raybench.results.folder_reader import RUNNING, Results, Tuning, load
from raybench.results.run_files import ABOUT, BENCHMARK


@dataclass(frozen=True)
class Resume:
    """A folder to go on with; failed and damaged trials are measured again unless `keep_failed` is set."""

    folder: Path
    keep_failed: bool = False


@dataclass(frozen=True)
class Left:
    """The benchmark of a run, its trials that are still to be measured, in order, and what others took.

    `seconds` are of whole trials, by cell id; `kept` is how many trials stay as they are.
    """

    benchmark: Benchmark
    trials: tuple[Trial, ...]
    kept: int
    seconds: Mapping[str, float]


def tuning_to_resume(folder: Path) -> tuple[Results, Tuning]:
    """The results of a tuning that was cut off; raises ConfigError where it cannot be resumed here."""
    results = _writable(folder)
    _check_damage(results)
    _check_environment(results)
    if results.tuning is None:
        raise ConfigError(f"resume is {folder}; that was no tuning: go on with raybench run --resume {folder}")
    return results, results.tuning


def left_to_measure(resume: Resume) -> Left:
    """Read and check a folder; raises ConfigError where this raybench, on this host, cannot resume it."""
    folder = resume.folder
    results = _writable(folder)
    _check_files(results)
    _check_environment(results)
    benchmark = config.load(folder / BENCHMARK, {})
    planned = plan.trials(benchmark)
    kept = _kept(results, resume) & {trial.id for trial in planned}
    left = tuple(trial for trial in planned if trial.id not in kept)
    return Left(benchmark, left, len(kept), _seconds(results))


def _writable(folder: Path) -> Results:
    """What a folder holds that can be written to."""
    try:
        results = load(folder)
        with TemporaryFile(dir=folder):
            pass
    except (OSError, ResultsError) as error:
        raise ConfigError(f"resume is {folder}; it cannot be resumed: {first_line(error)}") from error
    return results


def _check_files(results: Results) -> None:
    """Of a plain run."""
    _check_damage(results)
    said = f"resume is {results.folder}"
    if results.tuning:
        raise ConfigError(f"{said}; that was a tuning: go on with raybench tune --resume {results.folder}")
    if results.goal:
        raise ConfigError(f"{said}; that was a search, which cannot be resumed: start it again")


def _check_damage(results: Results) -> None:
    """Files of single trials may be damaged: those are measured again. Those of the whole run may not."""
    said = f"resume is {results.folder}"
    for each in results.damaged:
        if isinstance(each, OtherSchemaFile):
            raise ConfigError(f"{said}; {each}")
        if each.path == BENCHMARK:
            remedy = "undo the change, or start a new run with it: raybench run benchmark.yaml"
            raise ConfigError(f"{said}; {each}; {remedy}")
        if each.trial is None and each.path != RUNNING:
            raise ConfigError(f"{said}; {each}; restore it from a copy, or start a new run")


def _check_environment(results: Results) -> None:
    """Numbers of two machines or environments do not belong into one table."""
    there = results.environment
    if there is None:
        raise ConfigError(f"resume is {results.folder}; {ABOUT} does not say where it was measured: start a new run")
    here = (socket.gethostname(), run_info.python_version(), run_info.package_versions())
    was = (there.host, there.python, dict(there.packages))
    for key, then, now in zip(("host", "python", "packages"), was, here, strict=True):
        if then != now:
            raise ConfigError(f"resume is {results.folder}; its {key} was {then}, it is {now} here: start a new run")


def _kept(results: Results, resume: Resume) -> set[str]:
    """The ids of the trials that are not measured again."""
    statuses = {trial.record.id: trial.record.status for trial in results.trials}
    whole = {name for name, status in statuses.items() if status not in ("failed", "interrupted")}
    damaged = {each.trial or "": (results.folder / each.path).exists() for each in results.damaged}
    if not resume.keep_failed:
        return whole - damaged.keys()
    failed = {name for name, status in statuses.items() if status == "failed"}
    return whole | failed | {name for name, is_there in damaged.items() if is_there}


def _seconds(results: Results) -> dict[str, float]:
    """By cell id, what its whole trials took from the first preparation to the last reply."""
    took: dict[str, list[float]] = {}
    for record in (trial.record for trial in results.trials):
        if record.status == "ok" and record.ended:
            span = datetime.fromisoformat(record.ended) - datetime.fromisoformat(record.started)
            took.setdefault(record.cell, []).append(span.total_seconds())
    return {cell: fmean(each) for cell, each in took.items()}
