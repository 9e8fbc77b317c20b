"""Whether `raybench tune` finds what brute force finds, and claims nothing where there is nothing.

python tests/benchmarks/tune.py grid          every configuration of a Triton in five rounds, then a tuning of the same
python tests/benchmarks/tune.py flat          40 tunings of scripted servers that are all alike
python tests/benchmarks/tune.py planted       40 tunings in which one of them serves 15 % more

`grid` prints what the tuning's winner reaches of the best, by the grid's own means, and what share of its trials and
how long it took. Its model is a small dense network, or that of --model; FLAGS after -- go to both commands.
The others drive the strategy with the scripted client itself, without Ray, so that 40 take minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from raybench import config
from raybench.analysis.tuning.halving import Configuration, configurations, next_round
from raybench.analysis.tuning.result import BETTER, Measurement, TuningResult, tuning_result, values
from raybench.clients.fake_client import FakeClient
from raybench.config.tuning_goal import TuningGoal

_KNOBS = {"instances": "1,2", "merge-max": "0,1,16", "intra-op-threads": "0,1", "inter-op-threads": "0,1"}
_FIXED = {"layout": "multi", "merge-delay": "0"}
_SHORT = ["-b", "1", "--duration", "2", "--warmup-timeout", "1", "--no-verify", "--ui", "plain"]
_SCRIPTED, _SERVICE_MS, _PLANTED = 8, 2.0, 1.15
_EXPORT = """
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("grid", "flat", "planted"))
    parser.add_argument("--model", help="of grid: a model as -m takes it")
    parser.add_argument("--rounds", type=int, default=5, help="of grid")
    parser.add_argument("--runs", type=int, default=40, help="of flat and planted")
    parser.add_argument("--seconds", type=float, default=0.15, help="of a measurement of flat and planted")
    parser.add_argument("flags", nargs="*", metavar="FLAGS")
    options = parser.parse_args()
    if options.what == "grid":
        print_grid(options.model, options.rounds, options.flags)
    else:
        print_scripted(options.what, options.runs, options.seconds)
    return 0


def print_grid(model: str | None, rounds: int, flags: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = model or str(Path(scratch) / "dense")
        if model is None:
            subprocess.run([sys.executable, "-c", _EXPORT, folder], check=True, capture_output=True)
        common = ["-s", "triton", "-m", folder, *_flags({**_KNOBS, **_FIXED}), *_SHORT, *flags]
        grid, grid_s = _summary(["run", *common, "--no-calibrate", "--rounds", str(rounds), "--out", f"{scratch}/grid"])
        tuned, tuned_s = _summary(["tune", *common, "--out", f"{scratch}/tuned"])
    means = {each["label"]: each["inferences_per_s"]["mean"] for each in grid["cells"] if each["inferences_per_s"]}
    found = tuned["tuning"]
    best, trials = max(means, key=lambda label: means[label]), len(grid["trials"])
    for label, mean in sorted(means.items(), key=lambda pair: -pair[1]):
        print(f"{mean:10.1f}  {label}")
    print(f"grid: best {best}, {trials} trials, {grid_s / 60:.1f} min")
    print(f"tune: winner {found['winner']}: {means[found['winner']] / means[best]:.3f} of the best by the grid's means")
    print(f"tune: {found['verdict']}; ratio to {found['default']}: {found['ratio']}")
    print(f"tune: {found['measurements']} measurements, {found['measurements'] / trials:.2f} of the grid's trials, "
          f"{tuned_s / 60:.1f} min")  # fmt: skip


def _flags(values: dict[str, str]) -> Iterator[str]:
    for name, value in values.items():
        yield from (f"--{name}", value)


def _summary(words: list[str]) -> tuple[dict[str, Any], float]:
    """What a command derives, and how many seconds it took."""
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-m", "raybench", *words], check=True, stdout=subprocess.DEVNULL)
    (folder,) = Path(words[words.index("--out") + 1]).iterdir()
    return json.loads((folder / "summary.json").read_text()), time.monotonic() - began_s


def print_scripted(what: str, runs: int, seconds: float) -> None:
    claims = hits = 0
    for run in range(runs):
        times = [_SERVICE_MS] * _SCRIPTED
        planted = 1 + run % (_SCRIPTED - 1)
        if what == "planted":
            times[planted] = _SERVICE_MS / _PLANTED
        found = _tuned(times, seconds)
        claims += found.verdict == BETTER
        hits += found.verdict == BETTER and found.winner == f"fake {planted + 1}"
        print(f"run {run + 1}: {found.winner} {found.verdict} {found.ratio}", flush=True)
    print(f"{what}: a gain was claimed in {claims} of {runs}; the planted one in {hits}")


def _tuned(times_ms: Sequence[float], seconds: float) -> TuningResult:
    script = "; ".join(f"service_ms={ms}" for ms in times_ms)
    space = configurations(config.load(None, {"server": ("fake",), "url": {"fake": script}}))
    goal = TuningGoal(latency=None, most_trials=40, budget_s=1e9)
    found: dict[str, dict[int, Measurement]] = {}
    by_name = {each.name: each for each in space}
    while following := next_round(space, values(found), goal):
        for name in following.names:
            value = _requests_per_s(by_name[name], seconds)
            found.setdefault(name, {})[following.number] = Measurement(value, ())
    return tuning_result(space, found, goal)


def _requests_per_s(each: Configuration, seconds: float) -> float:
    """Of one lane that sends for so long."""
    client = FakeClient(each.first.cell.server.url or "")
    began_s, sent = time.perf_counter(), 0
    while time.perf_counter() - began_s < seconds:
        client.send(b"", 1.0)
        sent += 1
    return sent / (time.perf_counter() - began_s)


if __name__ == "__main__":
    sys.exit(main())
