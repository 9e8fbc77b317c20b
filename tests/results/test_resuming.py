"""What is left of a run that was cut off, and who may go on with it; nothing here starts Ray."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from folder_edits import edited
from helpers import RAY_CLUSTER, observed, results
from record_builders import record

from raybench.cli import main
from raybench.config import Benchmark, ConfigError, plan
from raybench.config.search_goal import OOM, Goal
from raybench.driver.run import run
from raybench.driver.run_observer import RunObserver
from raybench.driver.session import open_folder
from raybench.results import results_folder
from raybench.results.results_folder import ObservedTrial
from raybench.results.resuming import Resume, left_to_measure
from raybench.results.run_lock import locked

ASKED = {"server": ("fake", "local"), "rounds": 2, "loads": ({"workers": 1}, {"workers": 2})}
PLANNED = plan.trials(Benchmark(**ASKED))
IDS = [trial.id for trial in PLANNED]
FAILED = {"status": "failed", "reason": "it ended"}
SPAN = {"started": "2026-01-01T00:00:00.000+00:00", "ended": "2026-01-01T00:00:40.000+00:00"}


def measured(trial: plan.Trial, **changes: object) -> ObservedTrial:
    names = {"id": trial.id, "cell": trial.cell.id, "label": trial.cell.label, "round": trial.round}
    return observed(**{**names, **SPAN, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every trial of the plan."""
    return results(tmp_path_factory.mktemp("whole"), *map(measured, PLANNED), **ASKED)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test fails that gets as far as a run."""

    def run(*_: object) -> None:
        pytest.fail("it was about to start Ray")

    monkeypatch.setattr("raybench.driver.run.open_session", run)


def typed(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def left(folder: Path, *, keep_failed: bool = False) -> list[str]:
    return [trial.id for trial in left_to_measure(Resume(folder, keep_failed)).trials]


def test_models_in_folders_are_found_again(tmp_path: Path) -> None:
    """A run of models that were named by their folders goes on with the same folders, under the same names."""
    folder = results(tmp_path, server="fake", model=("./here/m", "mine=./there"), signature="s")
    again = left_to_measure(Resume(folder))
    assert again.benchmark.saved_models == {"m": "./here/m", "mine": "./there"}
    assert {trial.cell.model for trial in again.trials} == {"m", "mine"}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def again(folder: Path, **changes: object) -> None:
    """The trial of the plan that is looked at, measured with other results."""
    results_folder.save(folder, measured(PLANNED[1], **changes))


SAMPLES, TELEMETRY, RECORD = f"samples/{IDS[1]}.parquet", f"telemetry/{IDS[1]}.parquet", f"trials/{IDS[1]}.json"


@pytest.mark.parametrize(
    ("harm", "is_left", "is_left_with_keep_failed"),
    [
        pytest.param(lambda folder: again(folder, **FAILED), True, False, id="failed"),
        pytest.param(lambda folder: again(folder, status="interrupted", reason="x"), True, True, id="interrupted"),
        pytest.param(lambda folder: again(folder, status="degraded", reason="x"), False, False, id="degraded"),
        pytest.param(lambda folder: again(folder, status="skipped", reason="x"), False, False, id="skipped"),
        pytest.param(lambda folder: flip(folder / SAMPLES), True, False, id="samples"),
        pytest.param(lambda folder: flip(folder / TELEMETRY), True, False, id="telemetry"),
        pytest.param(lambda folder: flip(folder / RECORD), True, False, id="record"),
        pytest.param(lambda folder: (folder / SAMPLES).unlink(), True, False, id="no samples"),
        pytest.param(lambda folder: (folder / RECORD).unlink(), True, True, id="no record"),
        pytest.param(
            lambda folder: results_folder.write_running(folder, record(id=IDS[1], cell=PLANNED[1].cell.id)),
            *(True, True),
            id="measured again when it was killed",
        ),
    ],
)
def test_what_is_measured_again(
    harm: Callable[[Path], object], is_left: bool, is_left_with_keep_failed: bool, folder: Path
) -> None:
    """Failed, damaged and interrupted trials are left; --keep-failed keeps failed and damaged ones that are there. A
    degraded or a skipped one has its result."""
    harm(folder)
    assert left(folder) == [IDS[1]] * is_left
    assert left(folder, keep_failed=True) == [IDS[1]] * is_left_with_keep_failed


def test_what_is_left_stands_in_order_with_its_times(folder: Path) -> None:
    """--dry-run with --resume lists what is left as it will run, with what such trials took in this run."""
    for path in (folder / "trials").iterdir():
        if path.stem in IDS[2:]:
            path.unlink()
    lines = typed("run", "--resume", folder, "--dry-run").output.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == IDS[2:]
    known = {trial.cell.id for trial in PLANNED[:2]}
    times = ["about 40 s" if trial.cell.id in known else "no earlier time" for trial in PLANNED[2:]]
    assert [line.partition("  ")[2] for line in lines[:-1]] == times
    known_s, unknown = 40 * times.count("about 40 s"), times.count("no earlier time")
    assert f"{len(IDS) - 2} trials are left, 2 are kept; more than {known_s} s: {unknown} of them" in lines[-1]


def test_a_finished_run_has_nothing_left(folder: Path) -> None:
    """A run of which nothing is left says so and is reported, and Ray is not started."""
    for words in ([], ["--dry-run"]):
        done = typed("run", "--resume", folder, *words)
        assert done.exit_code == 0, done.output
        assert f"nothing is left to measure: all {len(IDS)} trials are there" in done.output


@pytest.mark.parametrize(
    ("path", "harm", "said"),
    [
        ("environment.json", lambda path: path.write_text("{"), "environment.json: is not a whole JSON file"),
        (
            "environment.json",
            lambda path: edited(path, lambda about: about.update(schema_version=4)),
            "written with schema 4, this raybench reads 6",
        ),
        (
            f"trials/{IDS[0]}.json",
            lambda path: edited(path, lambda trial: trial.update(schema_version=4)),
            "written with schema 4, this raybench reads 6",
        ),
        (
            "environment.json",
            lambda path: edited(path, lambda about: about["environment"].update(host="other")),
            f"its host was other, it is {socket.gethostname()} here",
        ),
        ("benchmark.yaml", lambda path: path.write_text("rounds: 9\n"), "undo the change, or start a new run with it"),
        ("benchmark.yaml", lambda path: path.write_bytes(b"\0\xff"), "benchmark.yaml: is damaged or was edited"),
        ("benchmark.yaml", Path.unlink, "benchmark.yaml: cannot be read: No such file"),
        ("trials", shutil.rmtree, "trials: cannot be read: No such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_gone_on_with_is_refused(
    path: str, harm: Callable[[Path], object], said: str, folder: Path
) -> None:
    """Another schema, another host, an edited benchmark or a lost file of the run: one sentence, exit 2, no Ray."""
    harm(folder / path)
    for words in ([], ["--dry-run"]):
        done = typed("run", "--resume", folder, *words)
        assert done.exit_code == 2, done.output
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"Error: resume is {folder}; ")
        assert said in line


def test_a_search_cannot_be_gone_on_with(tmp_path: Path) -> None:
    """A search is started again: what it measured decides what comes next."""
    folder = results(tmp_path, goal=Goal(kind=OOM, variable="workers", steps=(1.0,)))
    with pytest.raises(ConfigError, match="that was a search"):
        left(folder)


def test_keep_failed_needs_a_run_to_resume() -> None:
    """--keep-failed alone would do nothing: it is refused."""
    done = typed("run", "--keep-failed")
    assert (done.exit_code, "goes with --resume" in done.stderr) == (2, True)


HOLD = """
import sys, pathlib
from raybench.results.run_lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that measures into the folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_run_that_is_alive_is_left_alone(folder: Path, holder: "subprocess.Popen[str]") -> None:
    """Who measures into a folder is named by pid and host to whoever wants to go on with it; a report is not kept out.
    When the process is gone, however it ended, the folder is free."""
    again(folder, **FAILED)
    before = json.loads((folder / "environment.json").read_text())
    with pytest.raises(ConfigError, match=f"pid {holder.pid} on {socket.gethostname()}"), locked(folder):
        pass
    assert typed("report", folder).exit_code == 0
    assert json.loads((folder / "environment.json").read_text()) == before
    holder.kill()
    holder.wait(timeout=60)
    with locked(folder):
        assert (folder / "running.lock").exists()
    assert not (folder / "running.lock").exists()


def test_a_run_goes_on_where_nobody_else_does(folder: Path, holder: "subprocess.Popen[str]") -> None:
    """Who holds the folder is asked before anything else: no Ray, and no trial of the other run is overwritten."""
    again(folder, **FAILED)
    left = left_to_measure(Resume(folder))
    with pytest.raises(ConfigError, match=f"pid {holder.pid} on "):
        run(left.benchmark, RunObserver(), ["raybench"], Resume(folder))


def test_a_new_run_holds_its_folder(tmp_path: Path) -> None:
    """A run that is alive is left alone from its first moment to its end, whether it was new or gone on with."""
    session = SimpleNamespace(
        benchmark=Benchmark(out=str(tmp_path), **ASKED),
        observer=RunObserver(),
        cluster=SimpleNamespace(**vars(RAY_CLUSTER)),
        inputs=SimpleNamespace(unreadable=(), skipped=()),
    )
    opened = open_folder(session, ["raybench"])  # type: ignore[arg-type]
    with opened as context, pytest.raises(ConfigError, match=f"pid {os.getpid()} on "), locked(context.folder):
        pass
    with locked(context.folder):
        assert results_folder.load(context.folder).run.ended


def test_one_process_takes_the_lock_once(folder: Path) -> None:
    """A lock is held against this process, too: two runs of one program are two."""
    with locked(folder), pytest.raises(ConfigError, match="is being measured by"), locked(folder):
        pass
