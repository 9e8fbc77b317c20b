"""The results folder: what was observed, written once and read back."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from folder_edits import edited, without_seals
from helpers import RAY_CLUSTER, lanes, observed, sample, telemetry

from raybench import config
from raybench.config import Benchmark, ConfigError
from raybench.results import results_folder, samples
from raybench.results.results_folder import ResultsError

COMMAND = ["raybench", "run", "--workers", "4"]


def made(folder: Path, **changes: object) -> Path:
    return results_folder.create(Benchmark(out=str(folder), **changes), COMMAND, ray_cluster=RAY_CLUSTER)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    """A trial comes back from disk as it was observed: record, samples and telemetry, column for column."""
    rows = samples.table([sample(0, 1, phase="warmup"), sample(1, 2), sample(3, 9, status="INTERNAL", error="x")])
    seen = observed(rows, telemetry({"kind": "gpu", "id": "a", "gpu_used_mib": 5.0}))
    folder = made(tmp_path)
    results_folder.save(folder, seen)
    (back,) = results_folder.load(folder).trials
    assert back.record == seen.record
    assert back.samples.equals(seen.samples)
    assert back.telemetry.equals(seen.telemetry)


def test_a_trial_without_requests_comes_back(tmp_path: Path) -> None:
    """A trial that sent nothing is a row on disk like any other."""
    folder = made(tmp_path)
    results_folder.save(folder, observed(samples.merge([]), status="skipped", reason="no Triton here"))
    (back,) = results_folder.load(folder).trials
    assert (len(back.samples), back.samples.schema) == (0, samples.SCHEMA)
    assert back.record.reason == "no Triton here"


def test_trials_come_back_in_the_order_in_which_they_ran(tmp_path: Path) -> None:
    """The order of a report is the order of the run, not of file names."""
    folder = made(tmp_path)
    for number, label in enumerate(["local", "triton x1", "fake"], 1):
        results_folder.save(folder, observed(label=label, started=f"2026-01-01T00:00:0{number}.000+00:00"))
    assert [trial.record.label for trial in results_folder.load(folder).trials] == ["local", "triton x1", "fake"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"PAR1")], ids=["gone", "cut off"])
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """Tables are read when they are asked for; one that is gone or broken by then is an error that names its file."""
    folder = made(tmp_path)
    results_folder.save(folder, observed())
    (back,) = results_folder.load(folder).trials
    (path,) = (folder / "samples").iterdir()
    harm(path)
    assert back.telemetry is not None
    with pytest.raises(ResultsError, match=re.escape(str(path))):
        _ = back.samples


def test_a_record_means_that_its_tables_are_there(tmp_path: Path) -> None:
    """The record is written last: where a table cannot be written, there is no record of the trial."""
    folder = made(tmp_path)
    (folder / "telemetry").rmdir()
    with pytest.raises(ResultsError, match="telemetry"):
        results_folder.save(folder, observed())
    assert list((folder / "trials").iterdir()) == []


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    """A file is never rewritten in place: who has it open keeps reading the old one, and no scratch file is left."""
    folder = made(tmp_path)
    before = (folder / "environment.json").open()
    results_folder.finish(folder)
    with before:
        assert json.load(before)["run"]["ended"] is None
    assert json.loads((folder / "environment.json").read_text())["run"]["ended"] is not None
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["benchmark.yaml", "environment.json"]


def test_half_a_file_is_no_trial(tmp_path: Path) -> None:
    """What a crash left half written beside the trials is not read as one."""
    folder = made(tmp_path)
    results_folder.save(folder, observed())
    (folder / "trials" / ".r2-x.json.tmp").write_text('{"id": ')
    assert len(results_folder.load(folder).trials) == 1


def test_unknown_is_null_on_disk_and_not_a_number_is_refused(tmp_path: Path) -> None:
    """JSON that other programs read holds null for what is unknown, and never NaN."""
    folder = made(tmp_path)
    results_folder.write_summary(folder, {"p99": None})
    assert '"p99": null' in (folder / "summary.json").read_text()
    with pytest.raises(ValueError, match="JSON"):
        results_folder.write_summary(folder, {"p99": float("nan")})
    assert json.loads((folder / "summary.json").read_text()) == {"p99": None}


def test_a_run_that_is_not_finished_can_be_read(tmp_path: Path) -> None:
    """An interrupted run reports what it measured; its end is null until it has one."""
    folder = made(tmp_path, name="nightly")
    unfinished = results_folder.load(folder)
    assert (unfinished.run.name, unfinished.run.ended, unfinished.trials) == ("nightly", None, ())
    assert unfinished.run.command == tuple(COMMAND)
    results_folder.finish(folder)
    assert datetime.fromisoformat(str(results_folder.load(folder).run.ended)).tzinfo == UTC


def test_the_environment_is_on_record(tmp_path: Path) -> None:
    """A results folder says on what it was measured: host, cores, memory, package versions and the Ray cluster."""
    environment = results_folder.load(made(tmp_path)).environment
    assert environment.host
    assert environment.os
    assert environment.cores >= 1
    assert environment.memory_mib > 0
    assert re.match(r"\d+\.\d+", str(environment.packages["numpy"]))
    assert environment.ray_cluster == RAY_CLUSTER


def test_the_benchmark_on_disk_runs_again(tmp_path: Path) -> None:
    """benchmark.yaml holds the benchmark as resolved: `--resume`, which loads it, goes on with the same benchmark."""
    more = {"url": {"fake": "service_ms=1"}, "model": ("a", "b"), "strict": True, "threshold": ("p99<1s",)}
    one = config.load(None, {"out": str(tmp_path), "request_rate": (5.0, 7.5), "duration": 3.0, **more})
    loads = ({"workers": 1, "duration": 9.0}, {"request_rate": (5.0,)}, {"concurrency": 3, "batch_size": 2})
    many = config.load(None, {"out": str(tmp_path), "loads": loads, "tolerance": 0.5, **more})
    for asked in (one, many):
        folder = results_folder.create(asked, COMMAND, ray_cluster=RAY_CLUSTER)
        assert config.load(folder / "benchmark.yaml", {}) == asked
    assert "loads" not in one.written()
    assert set(many.written()["loads"][0]) == set(config.LOAD_SETTINGS)


@pytest.mark.parametrize(
    ("name", "start"),
    [("nightly", "nightly-2"), ("a b/c", "a-b-c-2"), ("../../etc", "etc-2"), ("..", "run-2"), ("-", "run-2")],
)
def test_a_run_stays_inside_its_results_folder(tmp_path: Path, name: str, start: str) -> None:
    """Whatever a run is called, its folder is one below --out, named after it and the time in UTC."""
    folder = made(tmp_path, name=name)
    assert folder.resolve().parent == tmp_path.resolve()
    assert folder.name.startswith(start)
    assert re.search(r"-\d{8}T\d{6}Z$", folder.name)


def test_a_results_folder_is_never_overwritten(tmp_path: Path) -> None:
    """Two runs of one name that start in the same second have a folder each."""
    folders = [made(tmp_path) for _ in range(5)]
    assert len(set(folders)) == 5
    assert all((folder / "environment.json").exists() for folder in folders)


@pytest.mark.parametrize(
    "check", [results_folder.check_out, lambda b: results_folder.create(b, ["raybench"], ray_cluster=RAY_CLUSTER)]
)
def test_out_that_cannot_be_written_is_told(check: Callable[[Benchmark], object], tmp_path: Path) -> None:
    """Where --out is no folder, one sentence says so: before the servers start, and should it come to be so later."""
    (tmp_path / "file").write_text("")
    with pytest.raises((ConfigError, ResultsError), match=r"file.*(Not a directory|File exists)"):
        check(Benchmark(out=str(tmp_path / "file")))


def test_out_is_checked_and_not_made(tmp_path: Path) -> None:
    """The check of --out leaves nothing behind: a run that is refused for something else made no folder."""
    results_folder.check_out(Benchmark(out=str(tmp_path / "new" / "results")))
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_was_cut_off_is_a_row(tmp_path: Path) -> None:
    """What was being measured when a run was killed is read back as an interrupted trial, until it is saved."""
    folder = made(tmp_path)
    results_folder.write_running(folder, observed().record)
    (trial,) = results_folder.load(folder).trials
    assert (trial.record.status, len(trial.samples)) == ("interrupted", 0)
    results_folder.save(folder, observed())
    assert [each.record.status for each in results_folder.load(folder).trials] == ["ok"]


@pytest.mark.parametrize("text", [None, "{", "{}", "[]", "null", "\0", '{"schema_version": 5}', "[" * 100_000])
def test_what_is_no_results_folder_is_refused(tmp_path: Path, text: str | None) -> None:
    """A folder without a trial, and without an environment.json that is ours, is refused with its name."""
    folder = made(tmp_path)
    (folder / "environment.json").unlink()
    if text is not None:
        (folder / "environment.json").write_text(text)
    with pytest.raises(ResultsError, match=re.escape(str(folder))):
        results_folder.load(folder)


@pytest.mark.parametrize("version", [4, results_folder.SCHEMA_VERSION + 1])
def test_another_schema_is_refused(tmp_path: Path, version: int) -> None:
    """Results written with another schema are refused, and both versions are named."""
    folder = made(tmp_path)
    results_folder.save(folder, observed())
    edited(folder / "environment.json", lambda there: there.update(schema_version=version))
    with pytest.raises(ResultsError, match=f"schema {version}, this raybench reads {results_folder.SCHEMA_VERSION}"):
        results_folder.load(folder)


def test_a_folder_of_an_older_schema_without_trials_is_refused(tmp_path: Path) -> None:
    """Up to schema 4 environment.json had no version: a run that measured nothing then is not read wrongly now."""
    folder = made(tmp_path)
    without_seals(folder)
    there = json.loads((folder / "environment.json").read_text())
    del there["schema_version"]
    (folder / "environment.json").write_text(json.dumps(there))
    with pytest.raises(ResultsError, match=f"an older schema, this raybench reads {results_folder.SCHEMA_VERSION}"):
        results_folder.load(folder)


def test_saving_again_replaces_the_trial(tmp_path: Path) -> None:
    """A trial that is measured again takes the place of its first record; there are never two."""
    folder = made(tmp_path)
    for rows in (lanes([(0, 1)]), lanes([(0, 1), (1, 2), (2, 3)])):
        results_folder.save(folder, observed(rows))
    assert [len(trial.samples) for trial in results_folder.load(folder).trials] == [3]
