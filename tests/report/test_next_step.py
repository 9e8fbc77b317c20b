"""The command that a report ends with."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import lanes, observed, summary
from record_builders import load, worker_facts

from raybench.analysis.search.strategy import SearchResult
from raybench.analysis.summary import Summary
from raybench.cli import main
from raybench.report.next_step import next_step
from raybench.results.results_folder import ObservedTrial

STEADY = lanes([(i * 10, i * 10 + 10) for i in range(400)])
FOLDER = Path("results/run-1")


def ended(*trials: ObservedTrial, words: str, search: tuple[SearchResult, ...] | None = None) -> Summary:
    found = summary(*trials)
    run = replace(found.run, command=tuple(shlex.split(f"/usr/bin/raybench {words}")), ended="2026-01-01T00:00:00Z")
    return replace(found, run=run, search=search)


def two(**changes: object) -> tuple[ObservedTrial, ...]:
    return tuple(observed(STEADY, label=label, **changes) for label in ("local", "triton x1"))


@pytest.mark.parametrize(
    ("trials", "words", "command"),
    [
        (two(), "run --workers 4 --rounds=1", "raybench run --workers 4 --rounds 5"),
        (two(), "run nightly.yaml", "raybench run nightly.yaml --rounds 5"),
        (two(), "run --resume results/run-1", "raybench run results/run-1/benchmark.yaml --rounds 5"),
        (
            (*two(), *two(round=2)),
            "run -s triton --workers 4 --duration 5 --strict -m a",
            "raybench search -s triton -m a --latency-threshold 'p99<20ms' --request-rate-range 10:150",
        ),
        ((*two(), *two(round=2)), "run nightly.yaml", "raybench report results/run-1 --details"),
        ((observed(lanes(), status="failed", reason="x"),), "run", "raybench doctor"),
    ],
)
def test_a_run_is_followed_by_what_it_leaves_open(trials: tuple[ObservedTrial, ...], words: str, command: str) -> None:
    """One round asks for more, several for the highest rate, a failure for the doctor; and each command parses."""
    found = next_step(ended(*trials, words=words), FOLDER)
    assert found
    assert found.command == command
    name, *flags = found.words[1:]
    options = {flag for each in main.commands[name].params for flag in each.opts}
    assert {flag for flag in flags if flag.startswith("-")} <= options


def test_a_doubted_number_of_workers_is_not_proposed_again() -> None:
    """Where workers outnumbered the cores, the next command has as many in flight from fewer of them."""
    crowded = load(workers=4, concurrency=1, in_flight=4)
    workers = [worker_facts(number=number, cores=2) for number in range(4)]
    four = lanes(*[[(i * 10, i * 10 + 10) for i in range(100)]] * 4)
    trials = [observed(four, label=label, load=crowded, workers=workers) for label in ("local", "triton x1")]
    found = next_step(ended(*trials, words="run --workers 4 -m a"), FOLDER)
    assert found
    assert found.command == "raybench run -m a --workers 2 --concurrency 2 --rounds 5"


def test_a_search_is_followed_by_a_longer_look_at_what_held() -> None:
    """The rate that held is measured again, with the command's own server and model."""
    held = SearchResult(
        kind="latency", variable="request_rate", threshold="p99<50ms", server="triton x1", model="a", unit="images",
        is_over=True, feasible_max=40.0, first_breach=45.0, goodput_rps=39.9, reason=None, points=(),
    )  # fmt: skip
    words = "search -s triton -m a --latency-threshold p99<50ms --request-rate-range 5:80"
    found = next_step(ended(observed(STEADY), words=words, search=(held,)), FOLDER)
    assert found
    assert found.command == "raybench run -s triton -m a --request-rate 40 --duration 60 --rounds 3"


def test_a_run_that_was_cut_off_has_none() -> None:
    """What comes next after an interrupt is to finish it, which the command says itself."""
    found = ended(observed(STEADY, load=load()), words="run --workers 4")
    assert next_step(replace(found, run=replace(found.run, ended=None)), FOLDER) is None
    cut_off = observed(lanes(), status="interrupted", reason="interrupted")
    assert next_step(ended(cut_off, words="run --workers 4"), FOLDER) is None
