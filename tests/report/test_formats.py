"""The table for other programs: CSV under perf_analyzer's header, and JUnit's XML."""

import csv
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from helpers import OPEN, lanes, observed, results, sample, summary
from record_builders import load, model_verification, statistics

from raybench.cli import main
from raybench.report import junit
from raybench.report.csv_table import csv_text
from raybench.results import samples
from raybench.results.records import VerificationRecord

THEIRS = (
    "Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,"
    "Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency"
)  # after its first column, as perf_analyzer -f writes them
STEADY = [(i * 10, i * 10 + 10) for i in range(400)]
TOLD = statistics(
    success=400,
    executions=400,
    cache_hit=0,
    cache_miss=0,
    queue_ns=4 * 10**8,
    compute_input_ns=8 * 10**8,
    compute_infer_ns=16 * 10**8,
    compute_output_ns=10**8,
)


def lines(*trials: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(csv_text(summary(*trials)).splitlines()))


def test_the_header_is_perf_analyzers() -> None:
    """A spreadsheet made for perf_analyzer finds its columns where they were, and ours after them."""
    header = csv_text(summary(observed())).splitlines()[0]
    assert header.startswith(f"Concurrency,{THEIRS},p99.9 latency,")
    assert csv_text(summary(open_loop())).startswith(f"Request Rate,{THEIRS},p99.9 latency,")


def open_loop() -> Any:
    rows = samples.table([sample(i * 10 + 4, i * 10 + 9, due_ms=i * 10, seq=i) for i in range(400)])
    return observed(rows, cell="open", id="r1-open", load=load(**OPEN))


def test_a_trial_is_a_line_in_microseconds() -> None:
    """Times are whole microseconds, as perf_analyzer has them; images are inferences."""
    (line,) = lines(observed(lanes(STEADY, items=8), server_statistics=TOLD))
    assert line["Concurrency"] == "1"
    assert line["Inferences/Second"] == "800"
    assert line["p99 latency"] == line["p50 latency"] == "10000"
    assert [line[name] for name in ("Server Queue", "Server Compute Infer", "Server Compute Output")] == [
        "1000", "4000", "250"
    ]  # fmt: skip
    assert line["Network+Server Send/Recv"] == "2750"
    assert (line["Server"], line["Model"], line["Round"]) == ("triton x1", "resnet50-no-opt", "1")


def test_what_is_not_known_is_empty() -> None:
    """An empty field, never 0: what a server does not tell, what the sample does not support, what did not run."""
    (line,) = lines(observed(lanes(STEADY[:40])))
    empty = ("Client Send", "Client Recv", "Server Queue", "Network+Server Send/Recv", "p95 latency", "p99 latency")
    assert [line[name] for name in empty] == [""] * len(empty)
    (line,) = lines(observed(samples.merge([]), status="skipped", reason="none here", workers=()))
    assert (line["Inferences/Second"], line["p50 latency"], line["Status"]) == ("", "", "skipped")


def test_closed_and_open_loops_are_two_tables() -> None:
    """A column never means concurrency in one line and a rate in the next."""
    closed, opened = csv_text(summary(observed(), open_loop())).split("\n\n")
    assert (closed.count("\n"), opened.count("\n")) == (1, 2)
    assert opened.splitlines()[1].startswith("100,")


def cases(*trials: Any) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(junit.of_run(summary(*trials)))
    return {case.get("name", ""): case for case in root.iter("testcase")}


def test_junit_has_a_case_for_each_trial() -> None:
    """CI shows a failed trial as an error with its reason, and a skipped one as skipped."""
    reason = "it\x1b[31m <ended> & said \x00"
    failed = observed(samples.merge([]), label="fake", status="failed", reason=reason, workers=())
    skipped = observed(samples.merge([]), label="tfserving", status="skipped", reason="none here", workers=())
    found = cases(observed(), failed, skipped)
    assert [child.tag for child in found["r1-triton-x1-resnet50-no-opt"]] == []
    assert found["r1-fake-resnet50-no-opt"][0].get("message") == "it?[31m <ended> & said ?"
    assert found["r1-tfserving-resnet50-no-opt"][0].tag == "skipped"


def test_answers_that_differ_fail() -> None:
    """A server that answers differently is a failure, though its trial went well."""
    differs = VerificationRecord(agrees=False, models=(model_verification(difference=0.5),))
    (case,) = cases(observed(verification=differs)).values()
    assert case[0].tag == "failure"
    assert "answers differ" in str(case[0].get("message"))


@pytest.mark.parametrize("kind", ["text", "markdown", "csv", "json", "junit", "html"])
def test_report_writes_every_format(kind: str, tmp_path: Any) -> None:
    """`raybench report DIR --format ...` writes each to stdout; of html, which is a file, where it is."""
    folder = results(tmp_path, observed(lanes(STEADY), label="local"), observed(lanes(STEADY)))
    done = CliRunner().invoke(main, ["report", str(folder), "--format", kind])
    assert done.exit_code == 0, done.output
    assert "resnet50-no-opt" in (folder / "report.html" if kind == "html" else folder / "summary.json").read_text()
    if kind == "json":
        assert json.loads(done.output) == json.loads((folder / "summary.json").read_text())
    elif kind == "html":
        assert done.output.strip() == str(folder / "report.html")
    else:
        assert "resnet50-no-opt" in done.output
