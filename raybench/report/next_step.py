"""The command that answers the next question after a run; pure."""

import shlex
from collections.abc import Collection
from math import ceil
from pathlib import Path
from typing import NamedTuple

from raybench.analysis.cells import CellSummary
from raybench.analysis.search.strategy import SearchResult
from raybench.analysis.summary import Summary
from raybench.results.run_files import DEPLOY

_ROUNDS = "--rounds"
_GOAL = ("--latency-threshold", "--request-rate-range", "--concurrency-range", "--until-oom")  # a run takes none
_LENGTH = ("--request-count", "--duration")
_LOOP = ("--workers", "--concurrency", "--request-rate", "--max-in-flight")  # a search sets the load itself
_GATES = (_ROUNDS, "--threshold", "--strict", "--max-error-rate", "--baseline")  # a search takes none
_SWITCHES = ("--until-oom", "--strict")  # flags without a value
_CONFIRM_S = 60
_OVER = "workers_over_cores"


class NextStep(NamedTuple):
    """What a command is for, and its words."""

    purpose: str
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        return shlex.join(self.words)


def next_step(summary: Summary, folder: Path) -> NextStep | None:
    """None where the run was cut off, or its command is not known."""
    words = _words(summary, folder)
    if summary.tuning is not None:
        return _deployed(summary, folder)
    if words is None or summary.run.ended is None or any(trial.status == "interrupted" for trial in summary.trials):
        return None
    measured = [cell for cell in summary.cells if cell.inferences_per_s]
    if not measured:
        return _step("what is missing here, with the fix", ["doctor"])
    if summary.search is not None:
        return _confirmed(words, summary.search)
    if max(trial.round for trial in summary.trials) == 1 and len(measured) > 1:
        verdicts = " and verdicts" if len({cell.label for cell in measured}) > 1 else ""
        fitted = _fitted(_without(words, (_ROUNDS,)), summary)
        return _step(f"intervals{verdicts}", [*fitted, _ROUNDS, "5"])
    details = _step("where memory, CPU and time went", ["report", str(folder), "--details"])
    return _searched(words, measured, summary) or details


def _deployed(summary: Summary, folder: Path) -> NextStep | None:
    """The configuration that a tuning left files of, measured by itself."""
    if summary.run.ended is None or summary.tuning is None or summary.tuning.to_deploy is None:
        return None
    return _step(f"{summary.tuning.to_deploy} alone", ["run", str(folder / DEPLOY / "run.yaml")])


def _words(summary: Summary, folder: Path) -> list[str] | None:
    """What follows `raybench` on the command line; a resumed run is repeated from its folder."""
    words = list(summary.run.command[1:])
    if not words or words[0] not in ("run", "search"):
        return None
    return ["run", str(folder / "benchmark.yaml")] if "--resume" in words else words


def _fitted(words: list[str], summary: Summary) -> list[str]:
    """As many in flight from no more workers than there are cores, where a row was doubted for that."""
    over = [
        (trial.load, int(doubt.limit or 1))
        for trial in summary.trials
        for doubt in trial.doubts
        if doubt.code == _OVER and trial.load.concurrency
    ]
    if len({load for load, _ in over}) != 1 or "--workers" not in words:
        return words
    load, workers = over[0]
    lanes = ceil(load.in_flight / workers)
    return [*_without(words, ("--workers", "--concurrency")), "--workers", f"{workers}", "--concurrency", f"{lanes}"]


def _confirmed(words: list[str], found: tuple[SearchResult, ...]) -> NextStep | None:
    """The load that held, measured for longer."""
    held = max((each for each in found if each.feasible_max), key=lambda each: each.feasible_max or 0, default=None)
    if held is None or held.variable not in ("request_rate", "concurrency"):
        return None
    load = [f"--{held.variable.replace('_', '-')}", f"{held.feasible_max:g}", "--duration", str(_CONFIRM_S)]
    rest = _without(words, (*_GOAL, *_LENGTH))
    return _step("what held, for longer", ["run", *rest[1:], *load, _ROUNDS, "3"])


def _searched(words: list[str], measured: list[CellSummary], summary: Summary) -> NextStep | None:
    """The highest rate within about twice the tail of a closed loop; a YAML may hold loads, which a search refuses."""
    rates = [t.throughput.requests_per_s for t in summary.trials if t.throughput and t.load.offered_rps is None]
    name, slowest_ms = _tail(measured)
    if not rates or not slowest_ms or any(word.endswith((".yaml", ".yml")) for word in words):
        return None
    rest = _without(words, (*_LOOP, *_GATES, *_LENGTH))
    limit = ["--latency-threshold", f"{name}<{_rounded(2 * slowest_ms)}ms"]
    span = ["--request-rate-range", f"{_rounded(max(rates) / 10)}:{_rounded(max(rates) * 1.5)}"]
    return _step("the highest rate within a latency", ["search", *rest[1:], *limit, *span])


def _tail(measured: list[CellSummary]) -> tuple[str, float | None]:
    for name in ("p99", "p90", "p50"):
        if known := [value for cell in measured if (value := getattr(cell, f"{name}_ms")) is not None]:
            return name, max(known)
    return "p99", None


def _rounded(value: float) -> str:
    """To two significant digits, never in scientific notation."""
    return f"{float(f'{value:.2g}'):.12g}"


def _without(words: list[str], flags: Collection[str]) -> list[str]:
    """A command line without some flags, whether their values follow after a space or a =."""
    kept, skips = [], False
    for word in words:
        if skips:
            skips = False
        elif word.partition("=")[0] in flags:
            skips = "=" not in word and word not in _SWITCHES
        else:
            kept.append(word)
    return kept


def _step(purpose: str, words: list[str]) -> NextStep:
    return NextStep(purpose, ("raybench", *words))
