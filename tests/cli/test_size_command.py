"""`raybench size` as a user types it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers import lanes, observed, results
from record_builders import load

from raybench.cli import main
from raybench.results.results_folder import ObservedTrial


def sized(*words: object) -> Result:
    return CliRunner().invoke(main, ["size", *map(str, words)])


def rounds(each_ms: float, *, count: int = 5, **changes: Any) -> list[ObservedTrial]:
    """A cell whose requests take about so long in each round: 1 % and 2 % more or less."""
    shares = (1.0, 1.01, 0.99, 1.02, 0.98)[:count]
    return [
        observed(lanes([(i * ms, i * ms + ms) for i in range(40)]), round=number, **changes)
        for number, ms in enumerate((each_ms * share for share in shares), 1)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of a server that answers about 50 requests of 8 items a second."""
    return results(tmp_path, *rounds(20, load=load(batch_size=8)))


def test_text_has_rate_formula_cost_and_assumption(folder: Path) -> None:
    """The answer has what a replica holds, the replicas by their formula, the cost, and in a line what is assumed."""
    done = sized(folder, "--request-rate", 500, "--spare", 1, "--price", "$2.50/h")
    assert done.exit_code == 0, done.output
    for part in (
        "triton x1, resnet50-no-opt, 8 images per request",
        "closed loop, 1 in flight, 5 rounds",
        "15 = ceil(500 x 1.3 / 4",
        ") + 1 for 500 requests/s with 30% headroom and 1 spare",
        "$27,375.00 ($25,550.00 by the upper end) a month",
        "per million images",
    ):
        assert part in done.output
    assert (
        sum("Assumes that requests are spread evenly and at random" in line for line in done.output.splitlines()) == 1
    )
    assert "GPU energy" not in done.output


def test_json_has_every_number(folder: Path) -> None:
    """--json has the demand, both ends and the replicas; what is not known is null."""
    done = sized(folder, "--inference-rate", 4000, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    (found,) = said["sizings"]
    assert found["request_rate"] == 500
    assert found["rate"]["low_rps"] < 50 < found["rate"]["high_rps"] * 1.01
    assert (found["replicas"], found["cost"], found["joules_per_inference"]) == (14, None, None)
    assert said["break_even"] == []
    assert "Poisson" in said["assumption"]


def test_one_round_sizes_nothing(tmp_path: Path) -> None:
    """Without an interval there are no replicas, and the sentence says what to do; that is no failure."""
    done = sized(results(tmp_path, *rounds(20, count=1)), "--request-rate", 500, "--price", "1/h")
    assert done.exit_code == 0, done.output
    assert "not known: one round has no interval: measure with --rounds 5" in done.output
    assert "a month" not in done.output


def test_results_are_compared_by_cost(tmp_path: Path) -> None:
    """Two folders with a price each: the cheaper one at the rate, and the rate above which the other stays cheaper."""
    cpu, gpu = results(tmp_path, *rounds(100)), results(tmp_path, *rounds(10))
    prices = ("--price", "1/h", "--price", "4.5/h")
    done = sized(cpu, gpu, "--request-rate", 15, "--headroom", 0, *prices)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.output.splitlines() if "is cheaper than" in line]
    assert line.startswith(f"At 15 requests/s triton x1 in {cpu} is cheaper than triton x1 in {gpu}; above 39.")
    assert line.endswith("stays cheaper.")
    same = sized(cpu, cpu, "--request-rate", 15, *prices)
    assert f"{cpu} (2)" in same.output
    assert "does not stay cheaper from any rate up to 1500 requests/s" in same.output
    assert "cheaper" not in sized(cpu, gpu, "--request-rate", 15).output


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--request-rate", "0"], "request-rate is 0;"),
        (["--request-rate", "5", "--headroom", "-1%"], "headroom is -1%;"),
        (["--request-rate", "5", "--price", "cheap"], "price is cheap;"),
        (["--request-rate", "5", "--spare", "-1"], "spare is -1;"),
        (["--request-rate", "5", "--price", "1/h", "--price", "2/h"], "price is given 2 times;"),
        (["--request-rate", "5", "--latency-threshold", "fast"], "latency-threshold is fast;"),
        ([], "give one rate to size for"),
    ],
)
def test_wrong_usage_is_one_sentence(folder: Path, words: list[str], start: str) -> None:
    """What cannot be is refused in one sentence, with exit code 2."""
    done = sized(folder, *words)
    assert done.exit_code == 2
    assert done.output.startswith(f"Error: {start}")
    assert done.output.count("\n") == 1


def test_what_is_no_whole_results_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    """A folder that has no results, or whose results are damaged, sizes nothing: one sentence, exit 2."""
    (tmp_path / "empty").mkdir()
    (trial_file, *_) = sorted((folder / "trials").glob("*.json"))
    trial_file.write_text(trial_file.read_text().replace("5.0", "6.0", 1))
    for wrong, said in ((tmp_path / "empty", "is not a results folder"), (folder, trial_file.name)):
        done = sized(wrong, "--request-rate", 5)
        assert done.exit_code == 2, done.output
        assert said in done.output
        assert done.output.count("\n") == 1
    assert sized(tmp_path / "none", "--request-rate", 5).exit_code == 2
