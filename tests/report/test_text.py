"""Summaries -> what people read."""

import io
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import OPEN, lanes, observed, results, sample, summary, telemetry
from record_builders import PHOTOS, load
from rich.console import Console

from raybench.analysis.summary import Summary
from raybench.config.plan import Load
from raybench.report import report, save
from raybench.report.result_table import DROPPED_FIRST
from raybench.report.text import markdown, print_report
from raybench.results import ResultsError, results_folder, samples
from raybench.results.results_folder import ObservedTrial

DASH = "–"
STEADY = [(i * 10, i * 10 + 10) for i in range(40)]


def printed(shown: Summary, width: int = 220) -> str:
    out = io.StringIO()
    print_report(Console(file=out, width=width), shown, Path("results/run-1"))
    return out.getvalue()


def row(text: str, start: str) -> list[str]:
    """The cells of the Markdown row with this server."""
    (line,) = [line for line in text.splitlines() if line.startswith("|") and f"| {start} |" in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def calibrated(each_ms: float, **changes: Any) -> ObservedTrial:
    """A trial whose client could have done a request in `each_ms`; it took 10."""
    empty = [(500 + i * each_ms, 500 + (i + 1) * each_ms) for i in range(40)]
    return observed(samples.merge([lanes(STEADY), lanes(empty, phase=samples.CEILING)]), **changes)


def skipped() -> ObservedTrial:
    rows = samples.merge([])
    return observed(rows, status="skipped", reason="no [bold]tritonserver[/bold] here", workers=())


def test_the_numbers_of_a_trial_are_in_its_row() -> None:
    """A row says in flight, images/s, percentiles, successes, failures, job time and memory of its server."""
    memory = telemetry(
        {"kind": "process", "id": "7", "rss_mib": 512.0}, {"kind": "gpu", "id": "a", "gpu_used_mib": 20.0}
    )
    asked = load(in_flight=2, batch_size=8)
    cells = row(markdown(summary(observed(lanes(STEADY, STEADY, items=8), memory, load=asked))), "triton x1")
    assert cells[:6] == ["resnet50-no-opt", "triton x1", "2", "1600.0", "10", "10"]
    assert cells[6:11] == [DASH, "80", "0", "0.4", "512 + 20 GPU"]


def test_what_is_not_known_is_a_dash() -> None:
    """A number that is unknown or not supported is shown as a dash, never as 0."""
    cells = row(markdown(summary(skipped())), "triton x1: skipped")
    assert cells[3:7] == [DASH] * 4
    assert cells[9:11] == [DASH] * 2


@pytest.mark.parametrize("shown", [markdown, printed])
def test_a_trial_that_was_not_measured_has_a_row_and_a_reason(shown: object) -> None:
    """A server that could not be had stands in the table with its reason, word for word; the others stay."""
    text = shown(summary(observed(label="local"), skipped()))
    assert "triton x1: skipped" in text
    assert "no [bold]tritonserver[/bold] here" in text
    assert "local" in text


def test_failures_are_counted_in_the_row() -> None:
    """The table shows how many requests failed beside how many succeeded, and the doubt names their status."""
    rows = samples.table([sample(i, i + 1, seq=i, status="OK" if i % 4 else "UNAVAILABLE") for i in range(12)])
    text = markdown(summary(observed(rows)))
    assert row(text, "triton x1")[7:9] == ["9", "3"]
    assert "3 of 12 requests failed (3 UNAVAILABLE)" in text


def test_the_fake_server_is_shown_as_such() -> None:
    """Numbers of the fake server are never mistaken for those of a real one: its row says fake."""
    assert row(markdown(summary(observed(label="fake"))), "fake")[1] == "fake"


def test_one_round_has_neither_interval_nor_verdict() -> None:
    """With one round the headline claims no verdict, and there is no ± beside a mean."""
    text = markdown(summary(observed(label="local"), observed(lanes([(0, 5), (5, 10)]))))
    assert "In one round triton x1 served resnet50-no-opt 2.00 times as fast as local, without a verdict.**" in text
    assert "±" not in text
    assert "faster" not in text


def test_several_rounds_have_an_interval_and_a_verdict() -> None:
    """With rounds the mean has its interval, the headline that of the ratio, and each of several its own verdict."""
    halves, wholes = lanes([(0, 5), (5, 10)]), lanes([(0, 10), (10, 20)])
    trials = [
        observed(rows, label=label, round=n)
        for n in (1, 2, 3)
        for label, rows in [("local", wholes), ("triton x1", halves)]
    ]
    text = markdown(summary(*trials))
    assert "serves resnet50-no-opt 2.00 times as fast as local.** 2.00 times the images/s, 95 % interval 2.00" in text
    more = markdown(summary(*trials, *(observed(wholes, label="triton x2", round=n) for n in (1, 2, 3))))
    assert "- triton x1 / local on" in more
    assert "2.00 times the images/s, 95 % interval 2.00-2.00 over 3 rounds: faster" in more
    assert more.count("95 % interval 2.00") == 1
    assert row(text, "local")[3] == "100.0 ± 0.0"


def rounds_of(**times_ms: list[float]) -> Summary:
    """Servers whose requests took so long in each round."""
    trials = [
        observed(lanes([(i * ms, i * ms + ms) for i in range(5)]), label=label.replace("_", " "), round=number)
        for label, each in times_ms.items()
        for number, ms in enumerate(each, 1)
    ]
    return summary(*trials)


@pytest.mark.parametrize("shown", [markdown, printed])
def test_no_difference_says_what_would_have_been_seen(shown: Any) -> None:
    """`no difference shown` stands beside the smallest difference that such rounds detect, of two rounds a factor."""
    text = shown(rounds_of(local=[10, 10, 10], triton_x1=[10.1, 9.9, 10.05]))
    assert "No difference shown between" in text
    assert "3 rounds; 3 rounds can only detect a difference of 3.5 %" in text
    text = shown(rounds_of(local=[10, 10], triton_x1=[12, 10]))
    assert re.search(r"2 rounds can only detect a factor of \d+\.\d\.", text)
    text = shown(rounds_of(local=[10, 10], triton_x1=[12, 6]))
    assert "2 rounds cannot detect even a factor of 100" in text


def test_an_interval_that_leaves_1_out_may_be_chance_among_many() -> None:
    """Where the interval alone would show a difference and the number of comparisons does not, the line says why."""
    ties = {f"triton_x{n}": [10.0 + n / 10, 10.0, 10.0 - n / 10] for n in range(2, 12)}
    text = markdown(rounds_of(local=[10, 10, 10], triton_x1=[10.6, 10.3, 10.4], **ties))
    assert re.search(r"triton x1 / local .*: no difference shown among 11 comparisons; ", text)
    assert text.count("among") == 1


def test_every_doubt_has_a_letter_in_the_rows_that_it_is_about() -> None:
    """Each letter in a row leads to a line with the doubt's sentence, remedy and code; a row has only its own."""
    bad = observed(samples.merge([lanes(STEADY), lanes([(400, 410)] * 2, status="UNAVAILABLE", error="x")]))
    text = markdown(summary(observed(label="local"), bad))
    letters = {code: re.search(rf"^- (\w) .*; .*\[{code}\]$", text, re.M)[1] for code in ("one_round", "errors")}
    assert set(letters.values()) <= set(row(text, "triton x1")[11].split())
    assert letters["errors"] not in row(text, "local")[11].split()
    assert re.search(r"^- \w 2 of 42 requests failed .*\(triton x1\); ", text, re.M)
    assert re.search(r"^- \w one round .*\(all rows\); ", text, re.M)


def test_markdown_is_one_table() -> None:
    """Every line of the Markdown table has as many cells as its head, and every note is one line."""
    reason = "it ended\nwith a log"
    text = markdown(summary(observed(label="local"), observed(status="failed", reason=reason)))
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    assert all(line.startswith(("|", "-", "**", "run: ")) for line in text.splitlines() if line)


def test_a_model_has_a_table_of_its_own_on_the_terminal() -> None:
    """On a terminal each model has its table, with what was sent, in how many rounds, as its title."""
    text = printed(summary(observed(model="resnet50-no-opt"), observed(model="efficientnetb0-no-opt")))
    assert "resnet50-no-opt: 1 images per request, closed loop, 1 round\n" in re.sub(" +\n", "\n", text)
    assert "efficientnetb0-no-opt: 1 images per request" in text
    assert "results in results/run-1" in text


def test_a_report_is_derived_from_the_folder_alone(tmp_path: Path) -> None:
    """summary.json is made of what was observed; doing it again changes no byte."""
    folder = results(tmp_path)
    results_folder.save(folder, observed(label="local"))
    results_folder.save(folder, skipped())
    save(folder, report(folder))
    first = (folder / "summary.json").read_bytes()
    save(folder, report(folder))
    assert (folder / "summary.json").read_bytes() == first


def test_summary_json_holds_nulls_for_what_is_not_known(tmp_path: Path) -> None:
    """summary.json has every trial, doubt and comparison, and null where nothing is known."""
    folder = results(tmp_path)
    for seen in (observed(label="local"), observed(lanes([(0, 5), (5, 10)]), label="triton x2"), skipped()):
        results_folder.save(folder, seen)
    save(folder, report(folder))
    found = json.loads((folder / "summary.json").read_text())
    by_label = {trial["label"]: trial for trial in found["trials"]}
    assert found["schema_version"] == results_folder.SCHEMA_VERSION
    assert [by_label["triton x1"][key] for key in ("throughput", "service_ms", "window_s")] == [None] * 3
    assert by_label["local"]["throughput"]["inferences_per_s"] == pytest.approx(100)
    assert by_label["local"]["response_ms"] is by_label["local"]["memory"]["peak"]["rss_mib"] is None
    assert "one_round" in [doubt["code"] for doubt in by_label["local"]["doubts"]]
    assert [(c["server"], c["verdict"]) for c in found["comparisons"]] == [("triton x2", None)]


def test_a_folder_that_is_none_has_no_report(tmp_path: Path) -> None:
    """A report of something else is refused, and nothing is written into it."""
    with pytest.raises(ResultsError):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def under(workers: int, batch_size: int) -> Load:
    return load(workers=workers, in_flight=workers, batch_size=batch_size)


def test_rows_under_several_loads_are_told_apart() -> None:
    """Where cells differ in batch size the table says which is which, and a doubt names the load that it is about."""
    large = observed(lanes(STEADY, STEADY), load=under(2, 8), cell="large", id="large")
    small = observed(lanes([(0, 10), (10, 20)]), cell="small", id="small")
    text = printed(summary(small, large))
    assert re.search(r"server +batch +in flight", text)
    assert re.search(r"triton x1 +8 +2 ", text)
    assert re.search(r"^[a-z] .*\(triton x1 \(1 x 1\)\); ", text, re.M)


def open_cell(rate: float = 100.0, label: str = "triton x1") -> ObservedTrial:
    """100 requests a second, each answered 7 ms after it was due and 5 ms after it left."""
    rows = samples.table([sample(due + 2, due + 7, due_ms=due, seq=due) for due in range(0, 4000, 10)])
    cell = f"{label}-{rate}"
    return observed(rows, label=label, cell=cell, id=f"r1-{cell}", load=load(**{**OPEN, "offered_rps": rate}))


def test_an_open_loop_shows_its_rates_and_response() -> None:
    """A row of an open loop has offered and achieved rate, and percentiles of response; the title says so."""
    text = markdown(summary(open_cell()))
    assert "open loop (poisson arrivals: response times)" in text
    assert row(text, "triton x1")[2:9] == ["≤ 64", "100", "100.0", "100.0", "7", "7", "7"]


def test_rates_are_in_order_and_told_apart() -> None:
    """Cells of several rates stand in order of their rates, and a doubt names the rate that it is about."""
    shown = summary(open_cell(20.0), open_cell(3.0), observed(label="local"))
    text = markdown(shown)
    assert [row(line, "triton x1")[3] for line in text.splitlines() if "| triton x1 |" in line] == ["3", "20"]
    assert row(text, "local")[3] == DASH
    assert "and closed loop" in text
    assert "triton x1 (3/s x 1)" in text


def test_files_are_told_with_their_size() -> None:
    """Where JPEG files were sent the title says of which quality, and how large an image was."""
    rows = samples.table([sample(i, i + 1, items=2, sent_bytes=50_000) for i in range(40)])
    assert "(jpeg q90, 25 kB an image)" in markdown(summary(observed(rows, input=replace(PHOTOS, encoding="jpeg q90"))))
    assert "an image)" not in markdown(summary(observed(rows)))


def test_the_headroom_is_in_the_row() -> None:
    """How many times as much the client could do stands in each row where it was measured, at the worst of its rounds;
    there is no such column where nobody looked."""
    rounds = calibrated(0.1), calibrated(0.2, round=2)
    text = markdown(summary(observed(label="local"), *rounds))
    at = [cell.strip() for cell in text.splitlines()[4].strip("|").split("|")].index("headroom")
    assert row(text, "triton x1")[at] == "50x"
    assert row(text, "local")[at] == DASH
    assert "headroom" in printed(summary(*rounds))
    assert "headroom" not in markdown(summary(observed()))


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_narrow_terminal_has_fewer_columns_and_each_whole(width: int) -> None:
    """Columns drop in a stated order, with a line that names them; no line is wider than the terminal, or cut."""
    shown = summary(observed(label="local"), calibrated(0.1, label="triton x1"))
    text = printed(shown, width)
    head = next(line for line in text.splitlines() if "in flight" in line)
    dropped = [name for name in DROPPED_FIRST if name not in head]
    assert dropped == list(DROPPED_FIRST[: len(dropped)])
    assert (f"not shown in {width} columns: {', '.join(dropped)};" in text) == bool(dropped)
    assert {
        name for name in ("server", "in flight", "images/s", "p99 ms", "failed", "doubts") if name not in head
    } == set()
    assert max(map(len, text.splitlines())) <= width or width == 60
    assert "…" not in text


def test_no_line_of_a_log_is_wider_than_it() -> None:
    """Sentences break between words, and a long command in a way that a shell takes."""
    reason = "the server ended: " + "a word " * 60
    found = summary(observed(label="local"), observed(status="failed", reason=reason))
    command = ["raybench", "run", *("--input", "a folder=/of/mine") * 9]
    run = replace(found.run, command=tuple(command), ended="2026-01-01T00:00:00Z")
    text = printed(replace(found, run=run), width=120)
    assert max(map(len, text.splitlines())) <= 120
    assert "the server ended" in text
    shown = text[text.index("\n  raybench") : text.index("\nresults in")]
    assert shlex.split(shown.replace("\\\n", ""))[: len(command)] == command


def test_a_mean_says_how_many_rounds_it_is_of() -> None:
    """A row whose rounds had no window, or failed, says over how many its means are, and shows the job time of all."""
    slow = [observed(lanes([(0, 500)]), round=n) for n in (3, 4, 5)]
    cells = row(markdown(summary(*(observed(lanes(STEADY), round=n) for n in (1, 2)), *slow)), "triton x1")
    assert cells[3:7] == ["100.0 ± 0.0 (2 of 5 rounds)", DASH, DASH, DASH]
    assert cells[9].startswith("0.5 ± ")
    bad = observed(samples.merge([]), round=2, status="failed", reason="it ended", workers=())
    assert row(markdown(summary(observed(lanes(STEADY)), bad)), "triton x1: failed")[3] == "100.0 (1 of 2 rounds)"


def test_loads_of_as_many_lanes_are_told_apart() -> None:
    """Two workers of four lanes and one of eight are two rows: neither takes the other's doubts for a round of its
    own."""
    one, two = load(in_flight=8, concurrency=8), load(in_flight=8, concurrency=4, workers=2)
    halves = [sample(*span, worker=n // 4, lane=n % 4) for n in range(8) for span in STEADY[: 30 + n]]
    seen = [
        observed(lanes(*[STEADY] * 8), load=one, cell="a", id="a"),
        observed(samples.table(halves), load=two, cell="b", id="b"),
    ]
    text = markdown(summary(*seen))
    rows = [line.split("|") for line in text.splitlines() if "| triton x1 |" in line]
    assert [cells[3].strip() for cells in rows] == ["8 (1 x 8)", "8 (2 x 4)"]
    assert re.search(r"^- \w .*\(triton x1 \((1 x 8|2 x 4) x 1\)\); ", text, re.M)
    assert "rounds)" not in text
