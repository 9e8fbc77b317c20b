"""Whether anybody's answer depends on who else asks: python tests/faults/strangers.py [--seconds 60] [--clients 8]

A real Triton serves signatures whose rows influence each other (softmax over the batch, batch normalization in
training, the best ten of a batch, padding to the longest, a counter) and one whose rows do not. Clients send requests
of 1 to 4 rows at random, and every answer is held against the one that the request got alone. Prints, by signature,
how many answers there were, how many of them were wrong, and how often Triton called the backend for a request: below 1
it handed over several requests at once.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from merging_models import dependent_functions
from real_parts import TritonUnderTest

from raybench.models.saved_models import ModelConfig, format_models_conf
from raybench.servers.triton_server import TritonOptions, running_triton
from raybench.telemetry.server_statistics import StatisticsCounter
from raybench.telemetry.triton_statistics import StatisticsReader

COUNTER, FREE = "counter", "free"
KINDS = 12  # of requests to a signature
TOLERANCE = {FREE: 1e-6}  # another batch size may add up in another order; what is not merged is the same to the bit


def export(folder: Path) -> tuple[str, ...]:
    """One model, `rows`, with a signature for each kind, whose output has the signature's name; returns the names."""
    import tensorflow as tf

    module = tf.Module()
    module.count = tf.Variable(0.0)

    functions = {
        **dependent_functions(),
        COUNTER: lambda x: x[:, 0] * 0 + module.count.assign_add(1.0),
        FREE: lambda x: tf.tanh(2.0 * x),
    }
    specs = {name: tf.TensorSpec([None, 3], tf.float32, name="x") for name in functions}
    specs["longest"] = tf.TensorSpec([None], tf.string, name="text")
    signatures = {}
    for name, function in functions.items():
        body = partial(_named, name, function)
        signatures[name] = tf.function(body, input_signature=[specs[name]], autograph=False)
        setattr(module, name, signatures[name])
    tf.saved_model.save(module, str(folder / "rows" / "1"), signatures=signatures)
    conf = format_models_conf((ModelConfig(name="rows", base_path=folder / "rows"),))
    (folder / "models.conf").write_text(conf, encoding="utf-8")
    return tuple(signatures)


def _named(name: str, function: Callable[[Any], Any], values: Any) -> dict[str, Any]:
    return {name: function(values)}


def requests(signature: str) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    if signature == "longest":
        words = np.array([b"a", b"b c", b"d e f", b""], object)
        return [{"text": rng.choice(words, rng.integers(1, 5))} for _ in range(KINDS)]
    return [{"x": rng.normal(size=(rng.integers(1, 5), 3)).astype(np.float32)} for _ in range(KINDS)]


def wrong_answers(triton: TritonUnderTest, signature: str, seconds: float, clients: int) -> tuple[int, int]:
    """How many answers clients at once got, and how many of them were not those of the request alone."""
    asked = requests(signature)
    alone = [answer(triton, signature, inputs) for inputs in asked]
    until_s = time.monotonic() + seconds

    def client(number: int) -> tuple[int, int]:
        rng, count, wrong = np.random.default_rng(number), 0, 0
        while time.monotonic() < until_s:
            kind = int(rng.integers(KINDS))
            found = answer(triton, signature, asked[kind])
            count, wrong = count + 1, wrong + (not is_same(found, alone[kind], TOLERANCE.get(signature, 0.0)))
        return count, wrong

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(client, range(clients)))
    return sum(count for count, _ in found), sum(wrong for _, wrong in found)


def answer(triton: TritonUnderTest, signature: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The output of a signature; ends the script where the request was refused."""
    found = triton.call("rows", signature, **inputs)
    if isinstance(found, tuple):
        raise SystemExit(f"refused: {found}")
    return np.asarray(found[signature])


def is_same(answer: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    if answer.shape != expected.shape:
        return False
    return bool(np.allclose(answer, expected, rtol=tolerance, atol=0) if tolerance else (answer == expected).all())


def counted_calls(triton: TritonUnderTest, seconds: float, clients: int) -> tuple[int, int]:
    """How many answers a counter gave, and by how many it was off: each request has to count once."""
    rows = {"x": np.zeros((1, 3), np.float32)}
    before, until_s = float(answer(triton, COUNTER, rows).ravel()[0]), time.monotonic() + seconds

    def client(_: int) -> list[float]:
        found = []
        while time.monotonic() < until_s:
            found.append(float(answer(triton, COUNTER, rows).ravel()[0]) - before)
        return found

    with ThreadPoolExecutor(clients) as pool:
        counts = sorted(count for found in pool.map(client, range(clients)) for count in found)
    return len(counts), sum(count != number for number, count in enumerate(counts, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="in all, shared out to the signatures")
    parser.add_argument("--clients", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        signatures = export(folder)
        each_s = asked.seconds / len(signatures)
        with running_triton(TritonOptions(models_conf=folder / "models.conf")) as running:
            triton, total_wrong = TritonUnderTest(running.grpc_url, folder, None), 0
            for signature in signatures:
                counter = StatisticsCounter(StatisticsReader(running.grpc_url, "saved_model"))
                if signature == COUNTER:
                    count, wrong = counted_calls(triton, each_s, asked.clients)
                else:
                    count, wrong = wrong_answers(triton, signature, each_s, asked.clients)
                total_wrong += wrong
                found = counter.total()
                per_request = found.counted.executions / found.counted.success if found else float("nan")
                print(
                    f"{signature:12} {count:6} answers, {wrong} wrong, {per_request:.2f} calls of the backend a request"
                )
    sys.exit(1 if total_wrong else 0)


if __name__ == "__main__":
    main()
