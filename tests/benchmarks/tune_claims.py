"""Whether `raybench tune` claims a gain where there is one, and none where there is none.

    python tests/benchmarks/tune_claims.py flat          40 tunings of scripted servers that are all alike
    python tests/benchmarks/tune_claims.py planted       40 tunings in which one of them serves 15 % more

They drive the strategy with the scripted client itself, without Ray, so that 40 take minutes. A gain may be claimed in
at most 2 of the first; at least 36 of the second must find the planted one.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from raybench import config
from raybench.analysis.tuning.halving import Configuration, configurations, next_round
from raybench.analysis.tuning.result import BETTER, Measurement, TuningResult, tuning_result, values
from raybench.clients.fake_client import FakeClient
from raybench.config.tuning_goal import TuningGoal

_SCRIPTED, _SERVICE_MS, _PLANTED = 8, 2.0, 1.15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("flat", "planted"))
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.15, help="of a measurement")
    options = parser.parse_args()
    print_scripted(options.what, options.runs, options.seconds)
    return 0


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
