"""Do report, compare and resume survive a damaged results folder, and does none of its numbers change in silence?

    python tests/faults/damaged_folders.py [--cases 500] [--seed 0]

Each case copies a results folder, damages the copy (bits, ends and pages of files, files that are missing, swapped,
foreign or of another schema), and calls the commands on it in this process. Prints what was found for each kind of
damage. Exits 1 where a command ended otherwise than with one of its exit codes, or where a number changed and the
report named no file.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner, Result

sys.path.append(str(Path(__file__).parents[1] / "support"))
from folder_edits import edited, without_seals
from helpers import lanes, observed, results, sample, telemetry
from record_builders import worker_facts

from raybench.cli import main as raybench
from raybench.config import Benchmark, plan
from raybench.config.search_goal import OOM, Goal
from raybench.results import samples
from raybench.results.results_folder import ObservedTrial

FORMATS = ("text", "markdown", "csv", "junit", "html")  # beside json, one a case
OF_TELEMETRY = {"memory", "cpu", "telemetry"}  # of a trial; what its telemetry says
OF_RUN = {"cells", "comparisons", "thresholds", "verification", "search", "run", "environment"}
MEMORY = ({"kind": "process", "id": "7", "rss_mib": 512.0}, {"kind": "host", "id": "host-1", "host_used_mib": 900.0})
Damage = Callable[[Path, random.Random], object]


ASKED: dict[str, Any] = {
    "server": ("local", "triton"),
    "rounds": 2,
    "loads": ({"workers": 1, "request_count": 99}, {"workers": 1, "request_count": 99, "request_rate": (100.0,)}),
}
CLOSED_MS = {"local": 20, "triton x1": 11}


def trials() -> Iterator[ObservedTrial]:
    """Every trial of the plan, in a closed loop and in an open one."""
    for trial in plan.trials(Benchmark(**ASKED)):
        cell = trial.cell
        names = {"label": cell.label, "cell": cell.id, "id": trial.id, "round": trial.round, "load": cell.load}
        ms = CLOSED_MS[cell.label] + trial.round
        rows = lanes([(i * ms, i * ms + ms) for i in range(99)])
        if cell.load.offered_rps:
            rows = samples.table([sample(i * 10 + 2, i * 10 + ms, seq=i, due_ms=i * 10) for i in range(500)])
        yield observed(rows, telemetry(*MEMORY), workers=[worker_facts()], **names)


@dataclass(frozen=True)
class Whole:
    """A folder that is as a run left it, what its commands say, and a folder of another run."""

    folder: Path
    other: Path
    summary: dict[str, Any]
    compared: dict[str, Any]
    sealed: bool = True


def whole(out: Path, kind: str) -> Whole:
    """A run, a search, or a run of a raybench that wrote no checksums."""
    goal = Goal(kind=OOM, variable="workers", steps=(1.0, 2.0)) if kind == "search" else None
    folder, other = (results(out, *trials(), goal=goal, threshold=("p50<1s",), **ASKED) for _ in "ab")
    if kind == "unsealed":
        without_seals(folder)
    summary = json.loads(called("report", folder, "--format", "json").stdout)
    compared = json.loads(called("compare", folder, folder, "--format", "json").stdout)
    return Whole(folder, other, summary, compared, sealed=kind != "unsealed")


def called(*words: object) -> Result:
    return CliRunner().invoke(raybench, [*map(str, words)], prog_name="raybench")


# --- damage


def files(folder: Path) -> list[Path]:
    """What numbers come from."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix in (".json", ".yaml", ".parquet")
    )


def a_file(folder: Path, rng: random.Random) -> Path:
    """Of each kind as often."""
    kinds: dict[str, list[Path]] = {}
    for path in files(folder):
        kinds.setdefault(path.parent.name if path.parent != folder else path.name, []).append(path)
    return rng.choice(kinds[rng.choice(sorted(kinds))])


def a_record(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted((folder / "trials").iterdir()))


def flip(folder: Path, rng: random.Random) -> None:
    path = a_file(folder, rng)
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def flip_digit(folder: Path, rng: random.Random) -> None:
    """A digit of a JSON file or of benchmark.yaml: it stays one that can be read."""
    path = rng.choice([path for path in files(folder) if path.suffix != ".parquet"])
    data = bytearray(path.read_bytes())
    if places := [i for i, byte in enumerate(data) if chr(byte) in "0246"]:
        data[rng.choice(places)] ^= 1
    path.write_bytes(data)


def truncate(folder: Path, rng: random.Random) -> None:
    path = a_file(folder, rng)
    path.write_bytes(path.read_bytes()[: rng.choice([0, 1, rng.randrange(path.stat().st_size)])])


def zero_page(folder: Path, rng: random.Random) -> None:
    path = a_file(folder, rng)
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    data[start : start + 64] = bytes(len(data[start : start + 64]))
    path.write_bytes(data)


def remove(folder: Path, rng: random.Random) -> None:
    a_file(folder, rng).unlink()


def remove_trial(folder: Path, rng: random.Random) -> None:
    name = a_record(folder, rng).stem
    for path in folder.rglob(f"{name}.*"):
        path.unlink()


def remove_folder(folder: Path, rng: random.Random) -> None:
    shutil.rmtree(folder / rng.choice(["trials", "samples", "telemetry"]))


def noise(folder: Path, rng: random.Random) -> None:
    a_file(folder, rng).write_bytes(rng.randbytes(rng.randrange(1, 5000)))


def copy_trial(folder: Path, rng: random.Random) -> None:
    path = a_record(folder, rng)
    shutil.copy(path, path.with_name(f"r9-{path.name.partition('-')[2]}"))


def swap(folder: Path, rng: random.Random) -> None:
    one, other = rng.sample(sorted((folder / rng.choice(["trials", "samples", "telemetry"])).iterdir()), 2)
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)


def strange_entry(folder: Path, rng: random.Random) -> None:
    """Something that is no file where one is expected, or a file beside those of the run."""
    path = folder / rng.choice(["trials/r7-x.json", "samples/r7-x.parquet", "telemetry/notes.txt", "running.json"])
    make = rng.choice([Path.mkdir, os.mkfifo, Path.touch, lambda p: p.symlink_to("nowhere"), lambda p: p.symlink_to(p)])
    make(path)


def strange_file(folder: Path, rng: random.Random) -> None:
    """A file of the run becomes something else."""
    path = a_file(folder, rng)
    path.unlink()
    rng.choice([Path.mkdir, os.mkfifo, lambda p: p.symlink_to("/dev/zero"), lambda p: p.symlink_to(p)])(path)


def other_schema(folder: Path, rng: random.Random) -> None:
    path = rng.choice([folder / "environment.json", a_record(folder, rng)])
    edited(path, lambda there: there.update(schema_version=rng.choice([1, 5, 7, "6", None])))


def places(there: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value, as its holder and its key."""
    for key, value in list(there.items() if isinstance(there, dict) else enumerate(there)):
        yield there, key
        if isinstance(value, (dict, list)):
            yield from places(value)


def forge(folder: Path, rng: random.Random) -> None:
    """A value of another kind under a right checksum: what no bit rot does, and a person may."""

    def change(there: dict[str, Any]) -> None:
        holder, key = rng.choice(list(places(there)))
        wrong = [None, -1, 0, 10**30, 1e308, -(2**63) + 1, "x", [], {}, True, "\0\ud800"]
        if rng.random() < 0.2 and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = rng.choice(wrong)

    edited(rng.choice([folder / "environment.json", a_record(folder, rng)]), change)


def not_a_number(folder: Path, rng: random.Random) -> None:
    path = a_record(folder, rng)
    offset = '"clock_offset_ns": 0'
    path.write_text(
        path.read_text().replace(offset, offset[:-1] + rng.choice(["NaN", "Infinity", "1e999", "9" * 5000]))
    )


def other_columns(folder: Path, rng: random.Random) -> None:
    """Under a right checksum."""
    record = a_record(folder, rng)
    kind = rng.choice(["samples", "telemetry"])
    path = folder / kind / f"{record.stem}.parquet"
    rows = pq.read_table(path)
    column = rng.choice(rows.column_names)
    changed = rng.choice([rows.drop_columns([column]), rows.append_column("more", pa.nulls(len(rows)))])
    if pa.types.is_integer(rows[column].type):
        nothing = pa.nulls(len(rows), rows[column].type)
        changed = rng.choice([changed, rows.set_column(rows.column_names.index(column), rows.field(column), nothing)])
    pq.write_table(changed, path)
    from raybench.results.atomic_files import sha256_of

    edited(record, lambda there: there.update({f"{kind}_sha256": sha256_of(path)}))


def twice(folder: Path, rng: random.Random) -> None:
    for harm in rng.sample([flip, truncate, remove, copy_trial, noise], 2):
        harm(folder, rng)


HARMS: dict[str, Damage] = {
    harm.__name__: harm
    for harm in (
        *(
            flip,
            flip,
            flip,
            flip_digit,
            truncate,
            zero_page,
            remove,
            remove_trial,
            remove_folder,
            noise,
            copy_trial,
            swap,
        ),
        *(strange_entry, strange_file, other_schema, forge, not_a_number, other_columns, twice),
    )
}
FORGED = {"forge", "other_columns"}  # their numbers may be others, for their checksums are right
UNSEEN_WITHOUT_SEALS = {
    *FORGED,
    "from_another_run",
    "flip",
    "flip_digit",
    "zero_page",
    "swap",
    "twice",
    "noise",
    "remove_trial",
}


def from_another_run(folder: Path, other: Path, rng: random.Random) -> None:
    """A trial's files of another run with the same names."""
    name = a_record(folder, rng).stem
    for path in other.rglob(f"{name}.*"):
        shutil.copy(path, folder / path.relative_to(other))


# --- checks


@dataclass(frozen=True)
class Verdict:
    """What a case came to; `wrong` are the rules that it breaks."""

    harm: str
    code: int
    named: int
    wrong: tuple[str, ...]


def tried(known: Whole, out: Path, seed: int) -> Verdict:
    """One case: a copy, damaged by what the seed says."""
    rng = random.Random(seed)
    folder = shutil.copytree(known.folder, out / "damaged")
    name = rng.choice([*HARMS, "from_another_run"])
    try:
        if name == "from_another_run":
            from_another_run(folder, known.other, rng)
        else:
            HARMS[name](folder, rng)
        return checked(known, folder, name, rng)
    finally:
        shutil.rmtree(folder)


def checked(known: Whole, folder: Path, harm: str, rng: random.Random) -> Verdict:
    also = rng.choice(FORMATS)
    reports = {kind: called("report", folder, "--format", kind) for kind in ("json", also)}
    which, pair = rng.choice([("compare as NEW", (known.folder, folder)), ("compare as BASE", (folder, known.folder))])
    compared = {which: called("compare", *pair, "--format", "json")}
    left = called("run", "--resume", folder, "--dry-run")
    wrong = [f"{what}: {said}" for what, done in {**reports, **compared, "resume": left}.items() for said in ends(done)]
    if len({done.exit_code for done in reports.values()}) > 1:
        wrong.append(f"formats end with {[done.exit_code for done in reports.values()]}")
    as_json = reports["json"]
    summary = json.loads(as_json.stdout) if as_json.exit_code in (0, 1) and as_json.stdout else None
    if summary and not (harm in FORGED or (not known.sealed and harm in UNSEEN_WITHOUT_SEALS)):
        wrong += numbers(known.summary, summary, as_json.exit_code)
        wrong += comparison(known, compared, named=bool(summary["damaged"]))
        wrong += resumable(summary, left)
    return Verdict(harm, as_json.exit_code, len(summary["damaged"]) if summary else 1, tuple(wrong))


def ends(done: Result) -> Iterator[str]:
    """How a command must not end."""
    if done.exception and not isinstance(done.exception, SystemExit):
        yield f"{type(done.exception).__name__}: {done.exception}"[:200]
    if done.exit_code not in (0, 1, 2):
        yield f"exit {done.exit_code}"
    if done.exit_code == 2 and not (done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) == 1):
        yield f"exit 2 without a sentence: {done.stderr[:200]!r}"


def numbers(was: dict[str, Any], now: dict[str, Any], code: int) -> Iterator[str]:
    """A number is the one that it was, or is gone, and then a file is named."""
    named = {each["path"] for each in now["damaged"]}
    if code != bool(named):
        yield f"exit {code} with {len(named)} files named"
    if not named and now != was:
        yield "the summary changed, and no file is named"
    before = {trial["id"]: trial for trial in was["trials"]}
    for trial in now["trials"]:
        if trial["id"] not in before:
            yield f"trial {trial['id']} appeared"
        elif trial["requests"]["attempted"]:
            lost = OF_TELEMETRY if f"telemetry/{trial['id']}.parquet" in named else set()
            first = before[trial["id"]]
            changed = [key for key in trial if key not in {"doubts", *lost} and trial[key] != first[key]]
            yield from (f"{trial['id']}: {key} changed" for key in changed)
    gone = before.keys() - {trial["id"] for trial in now["trials"] if trial["requests"]["attempted"]}
    yield from (f"{name} is gone unnamed" for name in gone if not any(name in path for path in named | {_all(named)}))


def _all(named: set[str]) -> str:
    """Where the folder of all trials, or of all tables, is gone, none of them is named alone."""
    return "" if "trials" not in named else "r1-r2-r3-"


def comparison(known: Whole, compared: dict[str, Result], *, named: bool) -> Iterator[str]:
    for which, done in compared.items():
        if done.exit_code == 0 and named:
            yield f"{which} ends with 0, though files are damaged"
        if done.exit_code == 0 and json.loads(done.stdout)["rows"] != known.compared["rows"]:
            yield f"{which} has other rows, and names no file"


def resumable(summary: dict[str, Any], left: Result) -> Iterator[str]:
    """Where the run could go on, a trial whose files are damaged is measured again."""
    if left.exit_code == 0:
        for each in summary["damaged"]:
            name = Path(each["path"]).stem
            if name in {trial["id"] for trial in summary["trials"]} and name not in left.stdout:
                yield f"resume keeps {name}, whose {each['path']} is damaged"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    verdicts = []
    with tempfile.TemporaryDirectory() as out:
        known = [whole(Path(out), kind) for kind in ("run", "run", "run", "search", "unsealed")]
        for seed in range(options.seed, options.seed + options.cases):
            verdict = tried(known[seed % len(known)], Path(out), seed)
            verdicts.append(verdict)
            for each in verdict.wrong:
                print(f"seed {seed} ({verdict.harm}): {each}", flush=True)
    print("| damage | cases | a file named | refused | unharmed | wrong |\n|---|---:|---:|---:|---:|---:|")
    for harm, count in sorted(Counter(each.harm for each in verdicts).items()):
        mine = [each for each in verdicts if each.harm == harm]
        ends_as = Counter(each.code for each in mine)
        print(f"| {harm} | {count} | {ends_as[1]} | {ends_as[2]} | {ends_as[0]} | {sum(bool(e.wrong) for e in mine)} |")
    wrong = sum(bool(each.wrong) for each in verdicts)
    print(f"{len(verdicts)} damaged folders: {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
