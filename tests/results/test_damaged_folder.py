"""A results folder that is damaged: no number comes from a file that cannot be trusted, and each such file is named."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from folder_edits import edited, without_seals
from helpers import lanes, observed, results, telemetry
from record_builders import load

from raybench.cli import main
from raybench.report import report
from raybench.results import ResultsError, results_folder, samples
from raybench.results.atomic_files import sha256_of
from raybench.results.results_folder import ObservedTrial

GONE, BAD = "r1-local-resnet50-no-opt", "r2-local-resnet50-no-opt"
MEMORY = telemetry({"kind": "process", "id": "7", "rss_mib": 512.0})


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds of two servers."""
    return results(tmp_path_factory.mktemp("sound"), *trials())


def trials() -> list[ObservedTrial]:
    return [
        observed(lanes([(i * ms, i * ms + ms) for i in range(99)]), MEMORY, label=label, round=number)
        for number in (1, 2)
        for label, ms in (("local", 20 + number), ("triton x1", 10))
    ]


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "run")


def typed(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def flip_digit(path: Path, before: str) -> None:
    """The last bit of a digit that follows a text: 8 becomes 9."""
    flip(path, path.read_bytes().index(before.encode()) + len(before))


def named(folder: Path) -> dict[str, str]:
    return {each.path: each.reason for each in report(folder).damaged}


@pytest.mark.parametrize("at", [4, 100, 400, -9, -40, -600])
@pytest.mark.parametrize("kind", ["samples", "telemetry"])
def test_a_flipped_bit_of_a_table_is_seen(kind: str, at: int, folder: Path) -> None:
    """A bit that flips in a page, a header or the end of a table is named, and no number comes from that table."""
    flip(folder / kind / f"{BAD}.parquet", at)
    found = report(folder)
    assert [each.path for each in found.damaged] == [f"{kind}/{BAD}.parquet"]
    (bad,) = [trial for trial in found.trials if trial.id == BAD]
    if kind == "samples":
        assert (bad.status, bad.requests.attempted, bad.throughput) == ("failed", 0, None)
        assert f"samples/{BAD}.parquet: is damaged" in str(bad.reason)
    else:
        assert (bad.status, bad.requests.attempted, bad.memory.peak_mib) == ("ok", 99, None)
        assert "damaged_files" in [doubt.code for doubt in bad.doubts]


@pytest.mark.parametrize(
    ("path", "before"),
    [
        (f"trials/{BAD}.json", '"clock_offset_ns": '),
        (f"trials/{BAD}.json", '"batch_size": '),
        ("environment.json", '"cores": '),
        ("benchmark.yaml", "rounds: "),
        ("search.json", '"limit_ms": '),
    ],
)
def test_a_flipped_digit_is_seen(path: str, before: str, folder: Path, tmp_path: Path) -> None:
    """A digit that becomes another leaves a file that can be read: it is named, and what it says is not used."""
    if path == "search.json":
        from raybench.config.search_goal import LATENCY, Goal

        goal = Goal(kind=LATENCY, variable="workers", steps=(1.0, 2.0), percentile="p50", limit_ms=80.0)
        folder = results(tmp_path, *trials(), goal=goal)
    flip_digit(folder / path, before)
    assert "SHA-256" in named(folder)[path]
    found = report(folder)
    assert [trial.id for trial in found.trials].count(BAD) == (path != f"trials/{BAD}.json")
    assert (found.environment is None) == (path == "environment.json")
    assert found.search is None


def test_pages_are_checked_when_they_are_read(folder: Path) -> None:
    """A table that is damaged after it was verified is an error when it is read, not a wrong number."""
    loaded = results_folder.load(folder)
    for path in (folder / "samples").iterdir():
        pages = pq.ParquetFile(path).metadata.row_group(0).column(8)
        flip(path, pages.data_page_offset + pages.total_compressed_size - 5)
    with pytest.raises(ResultsError, match="CRC"):
        _ = loaded.trials[0].samples


def other_columns(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["done_ns"]), path)


HARMS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "record gone": (f"trials/{BAD}.json", Path.unlink, "is missing"),
    "record cut off": (f"trials/{BAD}.json", lambda path: path.write_bytes(path.read_bytes()[:99]), "not a whole JSON"),
    "record empty": (f"trials/{BAD}.json", lambda path: path.write_bytes(b""), "not a whole JSON"),
    "record that is noise": (f"trials/{BAD}.json", lambda path: path.write_bytes(os.urandom(99)), "not a whole JSON"),
    "record of another schema": (
        f"trials/{BAD}.json",
        lambda path: edited(path, lambda there: there.update(schema_version=4)),
        "schema 4, this raybench reads 6",
    ),
    "record without a load": (
        f"trials/{BAD}.json",
        lambda path: edited(path, lambda there: there.pop("load")),
        "field load is missing",
    ),
    "record with NaN": (
        f"trials/{BAD}.json",
        lambda path: path.write_text(path.read_text().replace('"clock_offset_ns": 0', '"clock_offset_ns": NaN')),
        "NaN",
    ),
    "record with a huge offset": (
        f"trials/{BAD}.json",
        lambda path: edited(path, lambda there: there["workers"][0].update(clock_offset_ns=10**30)),
        "larger than any",
    ),
    "record of another run": (
        f"trials/{BAD}.json",
        lambda path: edited(path, lambda there: there.update(run_id="other")),
        "another run",
    ),
    "a record twice": (
        "trials/r9-local-resnet50-no-opt.json",
        lambda path: shutil.copy(path.with_name(f"{BAD}.json"), path),
        f"a copy of {BAD}.json",
    ),
    "a pipe": ("trials/r7-x.json", os.mkfifo, "not a file"),
    "a folder": ("trials/r7-x.json", Path.mkdir, "not a file"),
    "a link to nowhere": ("trials/r7-x.json", lambda path: path.symlink_to("nowhere"), "No such file"),
    "a link to itself": ("trials/r7-x.json", lambda path: path.symlink_to(path), "symbolic links"),
    "samples gone": (f"samples/{BAD}.parquet", Path.unlink, "No such file"),
    "samples empty": (f"samples/{BAD}.parquet", lambda path: path.write_bytes(b""), "SHA-256"),
    "samples of another trial": (
        f"samples/{BAD}.parquet",
        lambda path: shutil.copy(path.with_name(f"{GONE}.parquet"), path),
        "SHA-256",
    ),
    "samples that are a pipe": (
        f"samples/{BAD}.parquet",
        lambda path: (path.unlink(), os.mkfifo(path)),
        "not a file",
    ),
    "samples without a record": ("samples/r7-x.parquet", Path.touch, "no trials/r7-x.json"),
    "benchmark that is noise": ("benchmark.yaml", lambda path: path.write_bytes(os.urandom(99)), "SHA-256"),
    "benchmark gone": ("benchmark.yaml", Path.unlink, "No such file"),
    "environment gone": ("environment.json", Path.unlink, "No such file"),
    "trial that runs, cut off": ("running.json", lambda path: path.write_text('{"id'), "not a whole JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", HARMS)
def test_one_bad_file_is_named_and_the_rest_is_reported(case: str, folder: Path) -> None:
    """Each format exits 1 and names the file with what is wrong; the numbers of all other trials are as before."""
    before = {trial.id: trial for trial in report(folder).trials}
    path, harm, said = HARMS[case]
    harm(folder / path)
    assert said in named(folder)[path]
    for trial in report(folder).trials:
        assert trial.id != BAD or path != f"trials/{BAD}.json"
        if trial.requests.attempted:
            assert replace(trial, doubts=()) == replace(before[trial.id], doubts=())
    for kind in ("text", "markdown", "csv", "json", "junit"):
        done = typed("report", folder, "--format", kind)
        assert done.exit_code == 1, (kind, done.output, done.exception)
        assert path in done.output
    compared = typed("compare", folder, folder)
    assert compared.exit_code == 1, (compared.output, compared.exception)
    assert f"damaged in BASE: {path}" in compared.output
    assert compared.output.count("no difference shown") + compared.output.count("one round:") >= 1


def test_a_row_that_lacks_a_round_is_doubted(folder: Path) -> None:
    """The mean of a row whose other round is damaged carries the doubt; other rows do not."""
    (folder / "trials" / f"{BAD}.json").unlink()
    found = {trial.id: {doubt.code for doubt in trial.doubts} for trial in report(folder).trials}
    assert "damaged_files" in found[GONE]
    assert "damaged_files" not in found["r1-triton-x1-resnet50-no-opt"]


def test_samples_of_other_columns_are_refused(folder: Path) -> None:
    """Samples with other columns, though their checksum is right, give no number."""
    path = folder / "samples" / f"{BAD}.parquet"
    other_columns(path)
    digest = sha256_of(path)
    edited(folder / "trials" / f"{BAD}.json", lambda there: there.update(samples_sha256=digest))
    assert "does not have the columns" in named(folder)[f"samples/{BAD}.parquet"]


@pytest.mark.filterwarnings("error")
def test_values_that_make_no_sense_lose_one_trial(folder: Path) -> None:
    """Samples without stamps, under a right checksum, are one failed trial and not the end of the report."""
    path = folder / "samples" / f"{BAD}.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(8, rows.schema.field(8), pa.nulls(len(rows), pa.int64())), path)
    digest = sha256_of(path)
    edited(folder / "trials" / f"{BAD}.json", lambda there: there.update(samples_sha256=digest))
    found = report(folder)
    assert [trial.status for trial in found.trials if trial.id == BAD] == ["failed"]
    assert [each.path for each in found.damaged] == [f"trials/{BAD}.json"]
    assert f"done_ns is missing in {len(rows)} of {len(rows)} samples" in found.damaged[0].reason


def test_a_folder_without_checksums_is_read_with_a_doubt(folder: Path) -> None:
    """What an older raybench wrote without checksums is read, and every trial says that nobody can verify it."""
    before = report(folder)
    without_seals(folder)
    found = report(folder)
    assert found.damaged == ()
    assert [replace(trial, doubts=()) for trial in found.trials] == [replace(t, doubts=()) for t in before.trials]
    assert all("unverified_files" in [doubt.code for doubt in trial.doubts] for trial in found.trials)
    assert typed("report", folder).exit_code == 0


def test_a_trial_that_is_gone_whole_is_named(folder: Path) -> None:
    """A run that ended knows its trials: one of which every file is gone is named."""
    for path in folder.rglob(f"{BAD}.*"):
        path.unlink()
    assert list(named(folder)) == [f"trials/{BAD}.json"]


def test_a_file_that_is_only_laid_out_otherwise_is_sound(folder: Path) -> None:
    """The checksum of a JSON file is of what it says: a file that was printed prettier is not damaged."""
    path = folder / "trials" / f"{BAD}.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7, sort_keys=True))
    assert report(folder).damaged == ()


def test_a_folder_that_cannot_be_listed_is_a_sentence(folder: Path) -> None:
    """A folder of trials that is gone is named; where nothing is left to report, the command is refused."""
    shutil.rmtree(folder / "trials")
    done = typed("report", folder)
    assert (done.exit_code, "trials: cannot be read" in done.output) == (1, True)
    (folder / "environment.json").unlink()
    done = typed("report", folder)
    assert done.exit_code == 2
    assert done.output.count("\n") == 1


def test_no_bit_of_a_trial_changes_a_number(tmp_path: Path) -> None:
    """Whichever bit of a small samples file flips, the trial is refused or its numbers are the same."""
    folder = results(tmp_path, observed(lanes([(i, i + 1) for i in range(9)]), load=load()))
    (path,) = (folder / "samples").iterdir()
    data = path.read_bytes()
    for at in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data)
        flip(path, at)
        (trial,) = results_folder.load(folder).trials
        assert trial.record.status == "failed"
    path.write_bytes(data)
    (trial,) = results_folder.load(folder).trials
    assert len(samples.measured(trial.samples)) == 9
