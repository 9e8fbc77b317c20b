"""Whether the winner of `raybench tune` is as good as the best of a brute-force grid, on rounds that chose neither.

    python tests/benchmarks/tune.py --out FOLDER [--case NAME ...] [--grid KNOBS] [--fresh-rounds 10] [--minutes M]

For each case three steps, each with a results folder in FOLDER/CASE: `grid`, a run of every configuration of a Triton
in --rounds rounds; `tuned`, a tuning that may choose among the same; `fresh`, the winner and the grid's best in turn.
The best of many noisy means is too high by itself, so the two are compared by the fresh rounds alone: the geometric
mean of the ratio by round, with its 95 % interval. Where both are the same configuration there is nothing to measure.

A call goes on where the one before was cut off, takes about --minutes, and exits with 75 while something is left.
Cases: `tiny`, a small dense network that is bound by the CPU, and EfficientNetB0 with 8 and 1 items a request. FLAGS
after -- go to `raybench run` and `raybench tune`, such as --models FOLDER.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from paired_ratio import paired_ratio, written

from raybench import config
from raybench.analysis.tuning.halving import configurations
from raybench.driver.run import measure_on_one_server
from raybench.driver.run_observer import RunObserver
from raybench.driver.session import open_folder, open_session
from raybench.report import report
from raybench.results.resuming import Resume, left_to_measure

UNFINISHED = 75
ENDED = (0, 1, 3, 5)  # everything was measured, though a trial may have failed (1, 5)
END_S = 60  # in which an interrupted command ends
GRID = "instances=1,2 merge-max=0,1,16 intra-op-threads=0,1 inter-op-threads=0,1"
FIXED = {"instances": "1", "layout": "multi", **dict.fromkeys(("merge-max", "merge-delay"), "0")}
FIXED |= dict.fromkeys(("intra-op-threads", "inter-op-threads"), "0")
EXPORT = """
import sys, tensorflow as tf
class Dense(tf.Module):
    def __init__(self):
        super().__init__()
        sizes = [256, 2048, 2048, 10]
        self.layers = [tf.Variable(tf.random.stateless_normal([a, b], [a, b]) / 50) for a, b in zip(sizes, sizes[1:])]
    @tf.function(input_signature=[tf.TensorSpec([None, 256], tf.float32, name="x")])
    def score(self, x):
        for layer in self.layers:
            x = tf.nn.relu(x @ layer)
        return {"y": x}
module = Dense()
tf.saved_model.save(module, sys.argv[1] + "/1", signatures={"serving_default": module.score})
"""


@dataclass(frozen=True)
class Case:
    """A model as -m takes it (None: the small network), and items a request."""

    model: str | None
    items: int


CASES = {
    "tiny": Case(None, 1),
    "efficientnetb0-8": Case("efficientnetb0-no-opt", 8),
    "efficientnetb0-1": Case("efficientnetb0-no-opt", 1),
}


class OutOfTimeError(Exception):
    """The minutes of this call are over; the next one goes on."""


@dataclass(frozen=True)
class Step:
    """One results folder below `home`, until `until_s` on the monotonic clock."""

    home: Path
    until_s: float

    @property
    def results(self) -> Path | None:
        """The results folder, whole or not; None before there is one."""
        return max(self.home.glob("*/environment.json"), default=self.home).parent if self.is_begun else None

    @property
    def is_begun(self) -> bool:
        return any(self.home.glob("*/environment.json"))

    @property
    def left_s(self) -> float:
        return self.until_s - time.monotonic()

    def summary(self) -> dict[str, Any] | None:
        """What was derived from the whole of it; None while something is left to measure."""
        if self.results is None or not self._end.exists():
            return None
        return dict(json.loads((self.results / "summary.json").read_text()))

    def minutes(self) -> float:
        """How long all calls took together, the start of Ray and of each server included."""
        return sum(map(float, self._times.read_text().split())) / 60

    def command(self, name: str, words: Sequence[str]) -> dict[str, Any]:
        """The summary of `raybench NAME WORDS`, which is begun or taken up again; raises OutOfTimeError."""
        if found := self.summary():
            return found
        asked = ["--resume", str(self.results)] if self.results else [*words, "--out", str(self.home)]
        self.timed(lambda: self._ended([sys.executable, "-m", "raybench", name, *asked, "--ui", "plain"]))
        if found := self.summary():
            return found
        raise SystemExit(f"raybench {name} left nothing in {self.home}: its last lines stand above")

    def timed(self, work: Callable[[], None]) -> None:
        """Do it, and add how long it took to what calls before took."""
        self.home.mkdir(parents=True, exist_ok=True)
        began_s = time.monotonic()
        try:
            work()
        finally:
            with self._times.open("a") as file:
                file.write(f"{time.monotonic() - began_s:.1f}\n")

    def _ended(self, command: Sequence[str]) -> None:
        """Wait for a command, whose output goes to stderr; out of time it is interrupted, and saves what it has."""
        if self.left_s <= 0:
            raise OutOfTimeError
        process = subprocess.Popen(command, stdout=sys.stderr)
        try:
            status = process.wait(self.left_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait(END_S)
            raise OutOfTimeError from None
        if status not in ENDED or not self._is_finished:
            raise SystemExit(f"{' '.join(command[3:])} ended with {status}: its last lines stand above")
        self._end.touch()

    @property
    def _is_finished(self) -> bool:
        """Whether a command came to its own end: one whose Ray was lost exits with 1 too."""
        run = json.loads((self.results / "environment.json").read_text())["run"] if self.results else {}
        return run.get("ended") is not None and not self._is_cut_off

    @property
    def _is_cut_off(self) -> bool:
        """Whether trials of a run are left; a tuning says it by its end alone."""
        assert self.results
        with suppress(config.ConfigError):
            return bool(left_to_measure(Resume(self.results, keep_failed=True)).trials)
        return False

    @property
    def _end(self) -> Path:
        return self.home / "ended"

    @property
    def _times(self) -> Path:
        return self.home / "seconds.txt"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", action="append", choices=CASES, help="repeatable; all by default")
    parser.add_argument("--grid", default=GRID, help=f"knobs with their values, such as the default: {GRID}")
    parser.add_argument("--rounds", type=int, default=5, help="of the grid")
    parser.add_argument("--fresh-rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3, help="of a trial")
    parser.add_argument("--budget", type=float, default=20, help="minutes of the tuning")
    parser.add_argument("--minutes", type=float, default=1e6, help="of this call")
    parser.add_argument("flags", nargs="*", metavar="FLAGS")
    asked = parser.parse_args()
    until_s = time.monotonic() + 60 * asked.minutes
    try:
        for name in asked.case or CASES:
            for line in compared(asked, name, until_s):
                print(f"{name}: {line}", flush=True)
    except OutOfTimeError:
        print(f"{name}: not finished: the same command goes on", flush=True)
        return UNFINISHED
    return 0


def compared(asked: argparse.Namespace, name: str, until_s: float) -> Iterator[str]:
    """What the grid, the tuning and the fresh rounds of a case come to, as lines."""
    home = asked.out / name
    words = words_of(asked, CASES[name], home)
    grid_step, tune_step = Step(home / "grid", until_s), Step(home / "tuned", until_s)
    grid = grid_step.command("run", [*words, "--no-calibrate", "--rounds", str(asked.rounds)])
    tuning = tune_step.command("tune", [*words, "--budget", str(asked.budget)])["tuning"]
    yield from costs(grid, tuning, grid_step.minutes(), tune_step.minutes())
    means = {each["label"]: each["inferences_per_s"]["mean"] for each in grid["cells"] if each["inferences_per_s"]}
    winner, best = tuning["winner"], max(means, key=lambda label: means[label], default=None)
    if winner is None or best is None:
        yield f"nothing to compare: the tuning's winner is {winner}, the grid's best {best}"
        return
    yield f"tune: {winner}, {tuning['verdict']}, deploys {tuning['to_deploy']}; grid: {best}, {means[best]:.1f}/s"
    if winner == best:
        yield "winner / best: 1, they are the same configuration"
        return
    yield from ratio_lines(fresh_rounds(asked, grid_step, home, winner, best), winner, best)


def words_of(asked: argparse.Namespace, case: Case, home: Path) -> list[str]:
    """What the run of the grid and the tuning are both asked for."""
    knobs = {**FIXED, **dict(each.split("=") for each in asked.grid.split())}
    words = ["-s", "triton", "-m", case.model or str(tiny_model(home / "dense")), "-b", str(case.items)]
    words += [word for name, values in knobs.items() for word in (f"--{name}", values)]
    return [*words, "--duration", str(asked.seconds), "--warmup-timeout", "1", "--no-verify", *asked.flags]


def tiny_model(folder: Path) -> Path:
    if not (folder / "1" / "saved_model.pb").exists():
        subprocess.run([sys.executable, "-c", EXPORT, str(folder)], check=True, capture_output=True)
    return folder


def costs(grid: dict[str, Any], tuning: dict[str, Any], grid_min: float, tune_min: float) -> Iterator[str]:
    trials, share = len(grid["trials"]), tuning["measurements"] / len(grid["trials"])
    failed = [each for each in grid["trials"] if each["status"] != "ok"]
    yield f"trials: tune {tuning['measurements']} / grid {trials} = {share:.2f} (at most 0.20 is wanted)"
    yield f"minutes: tune {tune_min:.1f} (at most 20 are wanted), grid {grid_min:.1f}"
    for each in failed:
        yield f"no number of {each['label']} in round {each['round']} of the grid: {each['reason']}"


def fresh_rounds(
    asked: argparse.Namespace, grid: Step, home: Path, winner: str, best: str
) -> dict[str, dict[int, float]]:
    """Inferences/s by configuration and round, of both measured in turn; raises OutOfTimeError."""
    step = Step(home / "fresh", grid.until_s)
    wanted = [(n, label) for n in range(1, asked.fresh_rounds + 1) for label in (winner, best)[:: 1 if n % 2 else -1]]
    if left := [each for each in wanted if each not in measured(step)]:
        step.timed(lambda: measure(step, grid, left))
    found: dict[str, dict[int, float]] = {winner: {}, best: {}}
    for (number, label), value in measured(step).items():
        if value is not None and label in found:
            found[label][number] = value
    return found


def measured(step: Step) -> dict[tuple[int, str], float | None]:
    """By round and configuration, of the trials that ended; None is a trial that gave no number."""
    trials = report(step.results).trials if step.results else ()
    return {
        (each.round, each.label): each.throughput.inferences_per_s if each.throughput and each.status == "ok" else None
        for each in trials
        if each.status != "interrupted"
    }


def measure(step: Step, grid: Step, wanted: Sequence[tuple[int, str]]) -> None:
    """Measure these rounds of configurations of the grid, each with a server of its own."""
    benchmark = config.load((grid.results or grid.home) / "benchmark.yaml", {"out": str(step.home)})
    with (
        open_session(benchmark, RunObserver()) as session,
        open_folder(session, sys.argv, resume=step.results) as context,
    ):
        firsts = {each.name: each.first for each in configurations(session.benchmark)}
        for number, label in wanted:
            if step.left_s <= 0:
                raise OutOfTimeError
            print(f"fresh round {number}: {label}", file=sys.stderr, flush=True)
            measure_on_one_server([replace(firsts[label], round=number)], context)


def ratio_lines(found: dict[str, dict[int, float]], winner: str, best: str) -> Iterator[str]:
    both = sorted(found[winner].keys() & found[best].keys())
    mine, its = ([found[label][n] for n in both] for label in (winner, best))
    ratio, interval = written(paired_ratio(mine, its))
    if both:
        yield f"fresh rounds: {winner} {fmean(mine):.1f}/s, {best} {fmean(its):.1f}/s"
    yield f"winner / best: {ratio}, 95 % interval {interval}, of {len(both)} fresh rounds (at least 0.95 is wanted)"


if __name__ == "__main__":
    sys.exit(main())
