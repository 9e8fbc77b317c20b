"""What warm-up calls gain: ready, first answer and steady replies of a Triton that starts with and without them.

    python tests/benchmarks/cold_start.py --models models -m efficientnetb0-no-opt

Starts are interleaved in random order. A model whose requests may share calls is executed when it loads, to prove it;
so it is started too with the rule that they never do, under which nothing is executed before the first request.
"""

import argparse
import random
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from raybench import config
from raybench.analysis.cells import interval
from raybench.analysis.cold_start import steady_from
from raybench.clients.triton_client import TritonClient
from raybench.inputs.input_sources import inputs_of
from raybench.models.default_signature import default_signature
from raybench.models.saved_models import format_models_conf, read_signatures
from raybench.processes import scratch_folder
from raybench.servers.served_models import resolve_models
from raybench.servers.triton_options import MERGE_RULES, TritonOptions
from raybench.servers.triton_server import running_triton
from raybench.servers.warm_up import WarmUp, warm_up_calls

_TIMEOUT_S, _SHARE = 120.0, 0.1
_COLUMNS = ("ready s", "of which warm-up s", "first answer s", "first request s", "steady s")


@dataclass(frozen=True)
class Arm:
    """A way to start: with warm-up calls or without, and with the proof that requests may share calls or without."""

    is_warm: bool
    is_proven: bool

    @property
    def name(self) -> str:
        return f"{'warm-up calls' if self.is_warm else 'no warm-up'}, {'proof' if self.is_proven else 'no proof'}"


ARMS = tuple(Arm(is_warm, is_proven) for is_proven in (True, False) for is_warm in (False, True))


def main() -> None:
    asked = _arguments()
    rng = random.Random(0)
    found: dict[Arm, list[tuple[float, ...]]] = {arm: [] for arm in ARMS}
    with scratch_folder("raybench-cold-") as folder:
        call = _call(asked)
        for _ in range(asked.rounds):
            for arm in rng.sample(ARMS, len(ARMS)):
                found[arm].append(_start(arm, call, _models_conf(asked, folder, arm), asked.requests))
                print(f"{arm.name}: {', '.join(f'{each:.2f}' for each in found[arm][-1])}", flush=True)
    print(f"\n| start | {' | '.join(_COLUMNS)} |\n|---|{'---:|' * len(_COLUMNS)}")
    for arm, starts in found.items():
        print(f"| {arm.name} | {' | '.join(map(_interval, zip(*starts, strict=True)))} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with models.conf")
    parser.add_argument("-m", "--model", default="efficientnetb0-no-opt")
    parser.add_argument("-b", "--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=40, help="after each start, one after the other")
    return parser.parse_args()


def _call(asked: argparse.Namespace) -> WarmUp:
    """The request that is sent, and that the warm-up makes."""
    (model,) = resolve_models(asked.models / "models.conf", (asked.model,))
    version = model.version_folder(model.specific[-1])
    wanted = default_signature(read_signatures(version))
    calls = warm_up_calls(asked.model, version, (asked.batch_size,), inputs_of(config.load(None, {})), seed=0)
    return next(call for call in calls if call.signature == wanted)


def _models_conf(asked: argparse.Namespace, folder: Path, arm: Arm) -> Path:
    place = folder / ("proof" if arm.is_proven else "never")
    place.mkdir(exist_ok=True)
    (place / "models.conf").write_text(format_models_conf(resolve_models(asked.models / "models.conf", (asked.model,))))
    if not arm.is_proven:
        (place / MERGE_RULES).write_text(f"{asked.model} never\n")
    return place / "models.conf"


def _start(arm: Arm, call: WarmUp, models_conf: Path, requests: int) -> tuple[float, ...]:
    """The columns of one start, s."""
    warm_up = (call,) if arm.is_warm else ()
    options = TritonOptions(models_conf=models_conf, models=(call.model,), warm_up=warm_up)
    with running_triton(options) as server:
        latency_s = _latencies_s(server.grpc_url, call, requests)
    start = server.start
    steady = steady_from(latency_s, lanes=1, share=_SHARE)
    steady_s = float("nan") if steady is None else start.ready_s + latency_s[: steady + 1].sum()
    return start.ready_s, start.warm_up_s or 0.0, start.ready_s + latency_s[0], latency_s[0], steady_s


def _latencies_s(url: str, call: WarmUp, requests: int) -> np.ndarray:
    with closing(TritonClient(url, model=call.model, signature=call.signature)) as client:
        client.describe()
        body, took_ns = client.encode(call.batch), []
        client.prepare(1)
        for _ in range(requests):
            began_ns = perf_counter_ns()
            reply = client.send(body, _TIMEOUT_S)
            took_ns.append(perf_counter_ns() - began_ns)
            assert reply.is_ok, reply.error
    return np.array(took_ns) / 1e9


def _interval(values: tuple[float, ...]) -> str:
    """Mean and 95 % interval over the starts in which it is known."""
    found = interval(value for value in values if not np.isnan(value))
    if found is None:
        return "–"
    few = f" ({found.rounds} of {len(values)})" if found.rounds < len(values) else ""
    return f"{found.mean:.2f}" + (f" ± {found.high - found.mean:.2f}" if found.high is not None else "") + few


if __name__ == "__main__":
    main()
