"""One run against an earlier one."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from folder_edits import edited, without_seals
from helpers import OPEN, lanes, observed, results, sample
from record_builders import effective, load, record, server_facts

from raybench.cli import main
from raybench.results import samples
from raybench.results.results_folder import ObservedTrial

SCATTER = (1.0, 1.01, 0.99, 1.02, 0.98)


def rounds(each_ms: float, *, count: int = 5, label: str = "triton x1", **changes: Any) -> list[ObservedTrial]:
    """A cell whose requests take about so long in each round."""
    return [
        observed(lanes([(i * ms, i * ms + ms) for i in range(40)]), label=label, round=number, **changes)
        for number, ms in enumerate((each_ms * scatter for scatter in SCATTER[:count]), 1)
    ]


def ran(out: Path, *trials: ObservedTrial) -> Path:
    return results(out, *trials)


def compared(*words: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, words)])


def elsewhere(folder: Path, **changes: Any) -> Path:
    """A results folder whose environment says something else."""
    edited(folder / "environment.json", lambda about: about["environment"].update(changes))
    return folder


def test_a_run_against_itself_shows_nothing(tmp_path: Path) -> None:
    """A run compared with itself has no difference and no missed condition: exit 0."""
    folder = ran(tmp_path, *rounds(20))
    done = compared(folder, folder, "--fail-on", "throughput<0.95")
    assert done.exit_code == 0, done.output
    assert "No recorded setting differs." in done.output
    assert re.search(r"1\.000 +1\.000-1\.000 +5 +no difference shown", done.output)


def test_a_slower_model_fails(tmp_path: Path) -> None:
    """20 % more time a request is slower, and below 0.95 times the throughput: exit 99, with the ratio."""
    base, new = ran(tmp_path, *rounds(20)), ran(tmp_path, *rounds(24))
    done = compared(base, new, "--fail-on", "throughput<0.95", "--fail-on", "p50>1.1")
    assert done.exit_code == 99, done.output
    assert re.search(r"images/s +50\S* +41\S+ +0\.833 .* slower", done.output)
    assert re.search(r"p50 ms +20\S* +24\S* +1\.200 .* slower", done.output)
    assert "failed on throughput<0.95: triton x1, resnet50-no-opt, 1 in flight of 1: 0.833 times" in done.output
    assert compared(base, new, "--fail-on", "throughput<0.8").exit_code == 0
    assert compared(base, new).exit_code == 0


def test_what_may_be_chance_fails_nothing(tmp_path: Path) -> None:
    """A ratio below the limit that rounds scatter around is no missed condition; of one round the ratio decides."""
    noisy = [trial for ms, trial in zip((10, 40, 12, 33, 20), rounds(20), strict=True) for trial in rounds(ms, count=1)]
    noisy = [
        replace(trial, record=replace(trial.record, round=number, id=f"r{number}-x"))
        for number, trial in enumerate(noisy, 1)
    ]
    base, new = ran(tmp_path, *rounds(20)), ran(tmp_path, *noisy)
    done = compared(base, new, "--fail-on", "throughput<0.99")
    assert done.exit_code == 0, done.output
    assert "rounds can only detect" in done.output
    one, slow = ran(tmp_path, *rounds(20, count=1)), ran(tmp_path, *rounds(24, count=1))
    done = compared(one, slow, "--fail-on", "throughput<0.95")
    assert done.exit_code == 99
    assert "one round: no interval, no verdict" in done.output


def test_unlike_machines_are_told_first(tmp_path: Path) -> None:
    """Where a run is of another machine, that stands before any number."""
    base = ran(tmp_path, *rounds(20))
    new = elsewhere(ran(tmp_path, *rounds(20)), cpu="another CPU")
    lines = compared(base, new).output.splitlines()
    assert lines[1].startswith("These runs are from different machines")
    assert lines[2].startswith("machine: cpu: ")
    assert lines[2].endswith("-> another CPU")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model": replace(record().model, sha256="beef")}, "models: resnet50-no-opt: sha256: not known -> beef"),
        ({"server": server_facts("triton", version="2.61.0")}, "versions: triton x1: version: 2.51.0 -> 2.61.0"),
        (
            {"server": server_facts("triton", effective=effective("triton", xla=True))},
            "configuration: triton x1: effective.xla: off -> on",
        ),
    ],
)
def test_what_differs_is_named(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    """A model's hash, a version, a configuration that are not the same stand there, from what was observed."""
    new = [replace(trial, record=replace(trial.record, **changes)) for trial in rounds(20)]
    assert line in compared(ran(tmp_path, *rounds(20)), ran(tmp_path, *new)).output.splitlines()


def test_the_benchmarks_are_compared(tmp_path: Path) -> None:
    """A key of benchmark.yaml that differs is named; where results go, and what is asked of them, is no difference."""
    base, new = ran(tmp_path, *rounds(20)), results(tmp_path, *rounds(20), seed=7, name="mine")
    done = compared(base, new)
    assert "configuration: seed: 0 -> 7" in done.output
    assert "name: " not in done.output


@pytest.mark.parametrize("harm", ["seed: 7\n", "seed: [", "\0", "- a\n", "!!python/object:os.system x"])
@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_benchmark_that_cannot_be_trusted_is_named(harm: str, is_sealed: bool, tmp_path: Path) -> None:
    """What was asked is not compared where benchmark.yaml is edited, cut off or noise; everything else is."""
    base, new = ran(tmp_path, *rounds(20)), ran(tmp_path, *rounds(20))
    if not is_sealed:
        without_seals(new)
    (new / "benchmark.yaml").write_text(harm)
    done = compared(base, new)
    if harm == "seed: 7\n" and not is_sealed:
        assert (done.exit_code, "configuration: seed: 0 -> 7" in done.output) == (0, True)
        return
    assert done.exit_code == 1, (done.output, done.exception)
    assert "damaged in NEW: benchmark.yaml: " in done.output
    assert "configuration: " not in done.output
    assert "no difference shown" in done.output


def test_a_percentile_that_is_not_known_says_what_it_needs(tmp_path: Path) -> None:
    """A row whose p99 is not known is lost with the count that a p99 needs, and not for want of a common round."""
    few = observed(
        samples.table([sample(i * 10, i * 10 + 5, due_ms=i * 10, seq=i) for i in range(60)]), load=load(**OPEN)
    )
    base, new = ran(tmp_path, few, *rounds(20, label="local")), ran(tmp_path, few, *rounds(20, label="local"))
    done = compared(base, new, "--fail-on", "p99>1.05")
    assert done.exit_code == 99, done.output
    for name, load_of, count in (("triton x1", "100/s of 1", 59), ("local", "1 in flight of 1", 39)):
        sentence = f"{name}, resnet50-no-opt, {load_of} has no p99 in BASE and NEW: it needs 368 requests in the window"
        assert f"failed: {sentence}, and there were {count}" in done.output
    assert "round in common" not in done.output


def test_a_row_that_is_gone_fails_the_gate(tmp_path: Path) -> None:
    """What BASE measured and NEW did not is told, and passes no condition; what BASE never had is told and passes."""
    failed = observed(samples.merge([]), label="local", status="failed", reason="it ended", workers=())
    base = ran(tmp_path, *rounds(20), *rounds(30, label="local"))
    new = ran(tmp_path, *rounds(20), failed)
    done = compared(base, new, "--fail-on", "throughput<0.5")
    assert done.exit_code == 99
    assert "failed: local, resnet50-no-opt, 1 in flight of 1 was failed in NEW: it ended" in done.output
    done = compared(new, base, "--fail-on", "throughput<0.5")
    assert done.exit_code == 0
    assert "was failed in BASE" in done.output


def test_open_loops_are_compared_by_their_p99(tmp_path: Path) -> None:
    """The rate is what was asked for: an open loop is compared by its response."""

    def at(response_ms: float) -> ObservedTrial:
        rows = samples.table([sample(i * 10, i * 10 + response_ms, due_ms=i * 10, seq=i) for i in range(400)])
        return observed(rows, load=load(**OPEN))

    done = compared(ran(tmp_path, at(5)), ran(tmp_path, at(6)))
    assert re.search(r"100/s of 1 +p99 ms +5 +6 +1\.200", done.output)
    assert "images/s" not in done.output


@pytest.mark.parametrize("words", [["throughput"], ["p99<50ms"], ["memory<2"], ["x<1"]])
def test_a_wrong_condition_is_refused(tmp_path: Path, words: list[str]) -> None:
    """What is no condition ends with one sentence and exit 2."""
    folder = ran(tmp_path, *rounds(20))
    done = compared(folder, folder, "--fail-on", *words)
    assert done.exit_code == 2
    assert "write a ratio of NEW to BASE such as throughput<0.95" in done.output


def test_runs_that_share_nothing_are_refused(tmp_path: Path) -> None:
    """Two runs without a row in common are no comparison: exit 2, and both sides are told."""
    done = compared(ran(tmp_path, *rounds(20)), ran(tmp_path, *rounds(20, label="local")))
    assert done.exit_code == 2
    assert "triton x1, resnet50-no-opt, 1 in flight of 1 is only in BASE" in done.output


def test_programs_read_it_too(tmp_path: Path) -> None:
    """JSON and JUnit say what the text says, and the exit code is the same."""
    base, new = ran(tmp_path, *rounds(20)), ran(tmp_path, *rounds(24))
    words = (base, new, "--fail-on", "throughput<0.95", "--format")
    told = json.loads(compared(*words, "json").output)
    assert told["rows"][0]["comparison"]["verdict"] == "slower"
    assert told["rows"][0]["missed"] == ["throughput<0.95"]
    suite = ElementTree.fromstring(compared(*words, "junit").output)
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    done = compared(*words, "markdown")
    assert done.exit_code == 99
    assert len({line.count("|") for line in done.output.splitlines() if line.startswith("|")}) == 1
