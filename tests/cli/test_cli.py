"""The command line: what it says of itself, and how it ends."""

import io
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from helpers import observed, results, sample, summary
from real_parts import raybench
from record_builders import model_verification

from raybench.analysis.gates import failures
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary
from raybench.cli import main
from raybench.config import Benchmark
from raybench.driver.run_observer import RunObserver
from raybench.report import junit
from raybench.results import ResultsError, samples
from raybench.results.records import VerificationRecord
from raybench.results.results_folder import ObservedTrial

HALF = samples.table([sample(0, 9), sample(9, 18, seq=1, status="INTERNAL", error="x")])
OK = observed()
SKIPPED = observed(status="skipped", reason="there is none here")
FAILED = observed(HALF, status="failed", reason="it ended")
DEGRADED = observed(status="degraded", reason="lost: worker 1")
UNSTABLE = observed(status="unstable", reason="too much")
WHOLE = samples.table([sample(0, 9), sample(9, 18, seq=1)])
ERRORS = observed(HALF)
STRICT = {"strict": True}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command takes SIGINT and SIGTERM for itself; the tests give them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def typed(*words: object) -> Result:
    """What `raybench ...` does in this process."""
    return CliRunner().invoke(main, [*map(str, words)], prog_name="raybench")


def runs(monkeypatch: pytest.MonkeyPatch, out: Path, *trials: ObservedTrial, end: type[BaseException] | None) -> None:
    """Let a run leave these trials, and end with an exception or well."""

    def run(_benchmark: Benchmark, observer: RunObserver, _command: list[str], resume: None = None) -> None:  # noqa: ARG001
        if trials:
            observer.opened(results(out, *trials))
        if end:
            raise end

    monkeypatch.setattr("raybench.driver.run.run", run)


def test_help_names_every_command() -> None:
    """`raybench --help` and `-h` list every command, with what it is for."""
    for flag in ("--help", "-h"):
        shown = typed(flag)
        assert shown.exit_code == 0
        for name, command in main.commands.items():
            words = f"{name} {command.get_short_help_str(20)}".removesuffix("...").split()
            assert " ".join(words) in " ".join(shown.output.split())


def test_version() -> None:
    """`raybench --version` says which one it is."""
    assert typed("--version").output.startswith("raybench, version ")


@pytest.mark.parametrize(
    ("trials", "options", "code"),
    [
        ([OK, OK], {}, 0),
        ([], {}, 0),
        ([OK, SKIPPED], {}, 0),
        ([SKIPPED], {}, 1),
        ([OK, SKIPPED], STRICT, 3),
        ([OK, DEGRADED, UNSTABLE], {}, 0),
        ([ERRORS], {"max_error_rate": 0.5}, 0),
        ([OK, FAILED], {}, 1),
        ([OK, ERRORS], {}, 5),
        ([ERRORS], {"max_error_rate": 0.49}, 5),
        ([OK, DEGRADED], STRICT, 3),
        ([OK, UNSTABLE], STRICT, 3),
        ([FAILED, ERRORS, DEGRADED], STRICT, 1),
        ([DEGRADED, ERRORS], STRICT, 5),
        ([OK], {"threshold": ("mean<1s",)}, 0),
        ([OK], {"threshold": ("error_rate<1%", "p99<1s")}, 99),
        ([OK, SKIPPED], {"threshold": ("error_rate<1%",)}, 99),
        ([OK], {"threshold": ("p99<1s",)}, 99),
        ([DEGRADED], {**STRICT, "threshold": ("p99<1s",)}, 99),
        ([ERRORS], {"threshold": ("p99<1s",)}, 5),
    ],
)
def test_the_first_exit_code_that_applies(trials: list[ObservedTrial], options: dict[str, Any], code: int) -> None:
    """1 a trial failed or nothing was measured, 5 too many failed requests, 99 a threshold missed or not judged, 3
    skipped, degraded or unstable under --strict, else 0: in that order."""
    assert code_of(gated(trials, options)) == code


def gated(trials: list[ObservedTrial], options: dict[str, Any]) -> Summary:
    """The summary of a run with such gates."""
    apart = [replace(each, record=replace(each.record, cell=f"c{n}", id=f"r1-c{n}")) for n, each in enumerate(trials)]
    plain = summary(*apart, threshold=options.get("threshold", ()))
    return replace(plain, run=replace(plain.run, **options))


def code_of(judged: Summary) -> int:
    return next((failure.code for failure in failures(judged)), 0)


@pytest.mark.parametrize("status", ["ok", "failed", "skipped", "degraded", "unstable"])
@pytest.mark.parametrize("rows", [HALF, WHOLE], ids=["errors", "no errors"])
@pytest.mark.parametrize("differs", [False, True])
@pytest.mark.parametrize("options", [{}, STRICT, {"max_error_rate": 0.5}, {"threshold": ("p50<1s", "mean<1s")}])
def test_junit_says_what_the_exit_code_says(
    status: str, rows: pa.Table, differs: bool, options: dict[str, Any]
) -> None:
    """A case is a failure or an error exactly where something of its row fails the command."""
    agrees = VerificationRecord(agrees=not differs, models=(model_verification(),))
    seen = observed(rows, status=status, reason="so it was", verification=agrees)
    judged = gated([OK, seen], options)
    root = ElementTree.fromstring(junit.of_run(judged))
    failed = {
        case.get("name") for case in root.iter("testcase") if {child.tag for child in case} & {"error", "failure"}
    }
    about = [each.about for each in failures(judged)]
    assert failed == {each.id if isinstance(each, TrialSummary) else each.cell for each in about}
    assert bool(failed) == bool(code_of(judged))


@pytest.mark.parametrize(
    ("trials", "end", "code"),
    [
        ([OK], None, 0),
        ([OK, FAILED], None, 1),
        ([ERRORS], None, 5),
        ([OK], KeyboardInterrupt, 130),
        ([FAILED, ERRORS], KeyboardInterrupt, 130),
        ([], KeyboardInterrupt, 130),
        ([OK], RuntimeError, 1),
        ([OK], ResultsError, 1),
        ([], ResultsError, 1),
    ],
)
def test_how_a_run_ends(
    trials: list[ObservedTrial], end: type[BaseException] | None, code: int, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    """A run ends with the code of what it measured; an interrupt comes first, and what was measured is reported."""
    runs(monkeypatch, tmp_path, *trials, end=end)
    ended = typed("run", "--ui", "none")
    assert ended.exit_code == code, ended.output
    if trials:
        assert ended.stdout.splitlines()[-1].startswith(f"FAIL (exit {code})" if code else "PASS")
    for name in ("summary.json", "report.html"):
        assert bool(list(tmp_path.glob(f"*/{name}"))) == bool(trials)


@pytest.mark.parametrize("words", [["run", "--ui", "none"], ["report"]])
def test_an_interrupt_is_130_wherever_it_comes(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C while the report is made is an interrupt too, and no failed trial."""

    def interrupted(_folder: Path) -> None:
        raise KeyboardInterrupt

    runs(monkeypatch, tmp_path, OK, end=None)
    monkeypatch.setattr("raybench.report.report", interrupted)
    assert typed(*words, *([tmp_path] if words == ["report"] else [])).exit_code == 130


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["run", "--frobnicate"],
        ["run", "--workers", "0"],
        ["run", "--workers", "many"],
        ["run", "nothing-here.yaml"],
        ["run", "--url", "triton"],
        ["report"],
        ["report", "nothing-here"],
        ["export", "--variants", "odd"],
        ["serve", "triton", "--instances", "0"],
    ],
    ids=" ".join,
)
def test_what_is_typed_wrong_is_2(words: list[str]) -> None:
    """A wrong command line or configuration ends with 2 and one sentence, before anything is started."""
    ended = typed(*words)
    assert ended.exit_code == 2
    assert "Error: " in ended.output
    assert not {"Traceback", "Usage:"} & set(ended.output.split())


def test_dry_run_touches_nothing(tmp_path: Path) -> None:
    """--dry-run prints the trials in the order in which they would run, and leaves no file."""
    counted = ("--instances", "1,2", "--rounds", 2, "--request-count", 100)
    run = raybench("run", "--dry-run", *counted, cwd=tmp_path, env=dict(os.environ))
    assert run.code == 0
    *lines, estimate = run.out.splitlines()
    assert len(lines) == len(set(lines)) == 6
    said = "duration unknown: no row has earlier results; starting the servers alone takes about"
    assert re.match(rf"6 trials; {said} \d+ min", estimate)
    assert {line[:2] for line in lines[:3]} == {"r1"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_a_terminal_will_do(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that has no ± or – shows ? for it: the table is printed, and the command succeeds."""
    folder = results(tmp_path, OK)
    printed = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", printed)
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder)])
    assert ended.value.code == 0
    printed.flush()
    table = printed.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert "triton x1" in table
    assert ("–" in table) is (encoding == "utf-8")
