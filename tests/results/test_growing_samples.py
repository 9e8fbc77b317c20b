"""Samples on disk as they come: what a run that is killed leaves of the trial that it was measuring."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import RAY_CLUSTER, sample
from record_builders import record

from raybench.analysis.summary import summarize
from raybench.config import load
from raybench.results import ResultsError, results_folder, samples
from raybench.results.growing_samples import growing_samples, path_of, read_growing
from raybench.results.results_folder import ObservedTrial
from raybench.telemetry import telemetry_schema

ROWS = [sample(10 * n, 10 * n + 5, seq=n, status="OK" if n % 9 else "UNAVAILABLE") for n in range(60)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A results folder, before its first trial."""
    benchmark = load(None, {"server": ["fake"], "out": str(tmp_path)})
    return results_folder.create(benchmark, ["raybench", "run"], ray_cluster=RAY_CLUSTER)


def grow(folder: Path, trial: str) -> None:
    """Write ROWS in three messages."""
    with growing_samples(folder, trial) as file:
        for first in range(0, 60, 20):
            file.append(samples.table(ROWS[first : first + 20]))
            file.flush()


@pytest.mark.parametrize(("cut_bytes", "rows"), [(0, 60), (1, 60), (9, 40), (200, 40)])
def test_samples_are_read_up_to_the_last_whole_message(folder: Path, cut_bytes: int, rows: int) -> None:
    """Where a run died in the middle of a message, all samples before it are read; of different statuses too."""
    grow(folder, "t")
    path = path_of(folder, "t")
    os.truncate(path, path.stat().st_size - cut_bytes)
    assert read_growing(folder, "t").to_pylist() == samples.table(ROWS[:rows]).to_pylist()


@pytest.mark.parametrize("content", [None, b"", b"no stream"])
def test_a_file_without_a_message_holds_nothing(folder: Path, content: bytes | None) -> None:
    """A run that died before its first samples leaves a trial without numbers, and no error."""
    if content is not None:
        path_of(folder, "t").write_bytes(content)
    assert len(read_growing(folder, "t")) == 0


def test_a_trial_that_had_not_ended_is_reported_with_its_numbers(folder: Path) -> None:
    """After a kill -9 a report has the requests and the rate until then, as interrupted, and why if that is known."""
    running = record(id="t", ended=None, status="interrupted", reason=None)
    results_folder.write_running(folder, running)
    grow(folder, "t")
    (trial,) = summarize(results_folder.load(folder)).trials
    assert (trial.status, trial.reason) == ("interrupted", "it had not ended when this report was made")
    assert (trial.requests.attempted, trial.requests.failed) == (60, 7)
    assert trial.throughput
    assert trial.throughput.requests_per_s == pytest.approx(53 / 0.595, rel=0.05)
    assert trial.payload
    results_folder.note_loss(folder, "Ray's raylet (pid 7) ended")
    (trial,) = summarize(results_folder.load(folder)).trials
    assert trial.reason == "Ray's raylet (pid 7) ended"


def test_a_trial_is_there_once(folder: Path) -> None:
    """A run that is killed while it saves a trial, after the record and before the rest is removed, has it once."""
    ended = replace(record(id="t"), status="ok", reason=None)
    results_folder.write_running(folder, ended)
    grow(folder, "t")
    before = {path: path.read_bytes() for path in (folder / "running.json", path_of(folder, "t"))}
    results_folder.save(folder, ObservedTrial(ended, samples.table(ROWS), telemetry_schema.SCHEMA.empty_table()))
    assert not any(path.exists() for path in before)
    for path, content in before.items():
        path.write_bytes(content)
    assert [trial.status for trial in summarize(results_folder.load(folder)).trials] == ["ok"]


@pytest.mark.parametrize("what", ["deleted", "moved"])
def test_a_folder_that_is_gone_ends_the_trial(folder: Path, what: str) -> None:
    """A run whose results folder is deleted or moved says so in a sentence, and not after hours of measuring."""
    with growing_samples(folder, "t") as file:
        shutil.rmtree(folder) if what == "deleted" else folder.rename(folder.with_name("elsewhere"))
        with pytest.raises(ResultsError, match=f"{folder}/samples: is gone; it was deleted or moved"):
            file.append(samples.table(ROWS))
