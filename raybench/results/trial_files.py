"""The files of one trial in a results folder: its record, which has the SHA-256 of the two tables, and the tables."""

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from raybench.results import ResultsError, json_records, samples
from raybench.results.atomic_files import parquet_schema, read_parquet, sha256_of, write_parquet
from raybench.results.damage import DamagedFile, damaged_file
from raybench.results.growing_samples import read_growing
from raybench.results.records import TrialRecord
from raybench.results.sealed_json import read_sealed, write_sealed
from raybench.telemetry import telemetry_schema

TRIALS, SAMPLES, TELEMETRY = "trials", "samples", "telemetry"
_NO_SAMPLES, _NO_TELEMETRY = samples.SCHEMA.empty_table(), telemetry_schema.SCHEMA.empty_table()


@dataclass(frozen=True)
class ObservedTrial:
    """One trial: its record, its samples and its telemetry (Arrow), and whether the run ends with it."""

    record: TrialRecord
    samples: pa.Table
    telemetry: pa.Table
    was_interrupted: bool = False


@dataclass(frozen=True)
class StoredTrial:
    """A trial on disk: as ObservedTrial, but each use reads its table again, so that a report holds one at a time.

    Damaged telemetry has no path, and no rows. `is_sealed` says whether checksums were there to verify it by.
    """

    record: TrialRecord
    samples_path: Path
    telemetry_path: Path | None
    is_sealed: bool = True

    @property
    def samples(self) -> pa.Table:
        return read_parquet(self.samples_path)

    @property
    def telemetry(self) -> pa.Table:
        return read_parquet(self.telemetry_path) if self.telemetry_path else _NO_TELEMETRY


@dataclass(frozen=True, kw_only=True)
class TrialSeal:
    """What a trial's file says of the run that it is of, and of its tables; None where there was no seal yet."""

    run_id: str | None = None
    samples_sha256: str | None = None
    telemetry_sha256: str | None = None


@dataclass(frozen=True)
class TrialFile:
    """A trial's JSON file as it was read."""

    record: TrialRecord
    seal: TrialSeal
    is_sealed: bool


def write_trial(folder: Path, observed: ObservedTrial, run_id: str | None) -> None:
    """The record comes last, so that one on disk means that its tables are there; raises ResultsError."""
    name = observed.record.id
    seal = TrialSeal(
        run_id=run_id,
        samples_sha256=write_parquet(folder / SAMPLES / f"{name}.parquet", observed.samples),
        telemetry_sha256=write_parquet(folder / TELEMETRY / f"{name}.parquet", observed.telemetry),
    )
    write_record(folder / TRIALS / f"{name}.json", observed.record, seal)


def write_record(path: Path, record: TrialRecord, seal: TrialSeal) -> None:
    """Raises ResultsError."""
    write_sealed(path, {**vars(seal), **json_records.to_json(record)})


def read_record(path: Path, run_id: str | None) -> TrialFile:
    """Raises ResultsError where the file cannot be trusted, or is of another run than that of `run_id`."""
    there = read_sealed(path)
    seal = {name: there.content.pop(name, None) for name in TrialSeal.__annotations__}
    found = TrialFile(
        json_records.from_json(there.content, str(path)),
        json_records.read(TrialSeal, seal, str(path)),
        there.is_sealed,
    )
    if run_id and found.seal.run_id and found.seal.run_id != run_id:
        raise ResultsError(f"{path}: belongs to another run: move it back there")
    return found


def stored_trial(folder: Path, found: TrialFile) -> tuple[ObservedTrial | StoredTrial, list[DamagedFile]]:
    """A trial whose tables have been verified, and those that cannot be trusted: without its samples it has failed."""
    name, seal = found.record.id, found.seal
    samples_path, telemetry_path = (folder / kind / f"{name}.parquet" for kind in (SAMPLES, TELEMETRY))
    damaged = [
        each
        for each in (
            _damage(folder, samples_path, seal.samples_sha256, samples.SCHEMA),
            _damage(folder, telemetry_path, seal.telemetry_sha256, telemetry_schema.SCHEMA),
        )
        if each
    ]
    lost = {each.path: each for each in damaged}
    whole = None if f"{TELEMETRY}/{name}.parquet" in lost else telemetry_path
    trial = StoredTrial(found.record, samples_path, whole, is_sealed=found.is_sealed)
    no_samples = lost.get(f"{SAMPLES}/{name}.parquet")
    return (without_samples(trial, str(no_samples)) if no_samples else trial), damaged


def without_samples(trial: ObservedTrial | StoredTrial, why: str) -> ObservedTrial:
    """A trial whose requests are not known: a failed one with the reason."""
    return ObservedTrial(replace(trial.record, status="failed", reason=why), _NO_SAMPLES, trial.telemetry)


def without_numbers(record: TrialRecord, why: str) -> ObservedTrial:
    """A trial whose files make no sense: a failed one with the reason, of which only its name and its load are kept."""
    plain = replace(
        record,
        status="failed",
        reason=why,
        workers=(),
        item_hashes={},
        server_statistics=None,
        telemetry=None,
        verification=None,
        server_start=None,
    )
    return ObservedTrial(plain, _NO_SAMPLES, _NO_TELEMETRY)


def unfinished(folder: Path, record: TrialRecord) -> ObservedTrial:
    """A trial that was cut off, or goes on, with its samples so far."""
    reason = record.reason or "it had not ended when this report was made"
    cut = replace(record, ended=None, status="interrupted", reason=reason)
    return ObservedTrial(cut, read_growing(folder, record.id), _NO_TELEMETRY)


def _damage(folder: Path, path: Path, written: str | None, schema: pa.Schema) -> DamagedFile | None:
    """What is wrong with a table; None where it can be trusted, as far as there is a checksum."""
    try:
        if written and sha256_of(path) != written:
            raise ResultsError(f"{path}: is damaged or was edited: it does not match its SHA-256")
        if not parquet_schema(path).equals(schema):
            raise ResultsError(f"{path}: does not have the columns of {path.parent.name}")
        return None
    except ResultsError as error:
        return damaged_file(folder, path, error)
