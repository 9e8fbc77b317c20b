"""What layout per-model costs beside multi: one model in both, at several numbers of items a request.

    python tests/benchmarks/layouts.py [--rounds 5] [--items 1,8,32] [--clients 4] [--seconds 4] [--pixels 224]

Two Tritons stand side by side and are loaded one after the other, in an order that alternates by round. The model does
next to nothing (the mean of each image), so that what is compared is the way to it and not the model. Prints images/s
of each as the median of the rounds with the lowest and highest, and their ratio by round.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

import numpy as np

from raybench.clients.triton_client import TritonClient
from raybench.config import MULTI, PER_MODEL
from raybench.models.saved_models import ModelConfig, Signature, format_models_conf, read_signatures
from raybench.servers.triton_server import TritonOptions, running_triton

MODEL, SIGNATURE, TIMEOUT_S = "means", "serving_default", 60.0
LAYOUTS = (MULTI, PER_MODEL)


def write_model(folder: Path) -> tuple[Path, Signature]:
    import tensorflow as tf

    module = tf.Module()
    images = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
    module.call = tf.function(
        lambda images: {"means": tf.reduce_mean(tf.cast(images[:, ::16, ::16], tf.float32), [1, 2])},
        input_signature=[images],
        autograph=False,
    )
    tf.saved_model.save(module, str(folder / MODEL / "1"), signatures={SIGNATURE: module.call})
    conf = folder / "models.conf"
    conf.write_text(format_models_conf((ModelConfig(name=MODEL, base_path=folder / MODEL),)), encoding="utf-8")
    return conf, read_signatures(folder / MODEL / "1")[SIGNATURE]


def images_per_s(url: str, layout: str, spec: Signature, images: np.ndarray, clients: int, seconds: float) -> float:
    """What so many clients get, each with one request in flight on a connection of its own."""

    def send_all(_: int) -> int:
        with closing(
            TritonClient(url, model=MODEL, signature=SIGNATURE, spec=spec, is_direct=layout == PER_MODEL)
        ) as client:
            request, sent = client.encode({"images": images}), 0
            while time.perf_counter() < end_s:
                reply = client.send(request, TIMEOUT_S)
                assert reply.is_ok, reply.error
                sent += 1
            return sent

    began_s = time.perf_counter()
    end_s = began_s + seconds
    with ThreadPoolExecutor(clients) as pool:
        sent = sum(pool.map(send_all, range(clients)))
    return sent * len(images) / (time.perf_counter() - began_s)


def rounds(options: argparse.Namespace) -> Iterator[tuple[int, str, float]]:
    """Items, layout and images/s of each measurement."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        conf, spec = write_model(Path(folder))
        urls = {
            layout: stack.enter_context(running_triton(TritonOptions(models_conf=conf, layout=layout))).grpc_url
            for layout in LAYOUTS
        }
        rng = np.random.default_rng(0)
        for number in range(options.rounds + 1):
            for items in map(int, options.items.split(",")):
                images = rng.integers(0, 256, (items, options.pixels, options.pixels, 3), np.uint8)
                for layout in LAYOUTS if number % 2 else LAYOUTS[::-1]:
                    rate = images_per_s(urls[layout], layout, spec, images, options.clients, options.seconds)
                    if number:  # the first round warms up
                        yield items, layout, rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--items", default="1,8,32")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--pixels", type=int, default=224)
    options = parser.parse_args()
    found: dict[tuple[int, str], list[float]] = {}
    for items, layout, rate in rounds(options):
        found.setdefault((items, layout), []).append(rate)
    print(
        "| items a request | multi, images/s | per-model, images/s | per-model ÷ multi, by round |\n|---|---|---|---|"
    )
    for items in map(int, options.items.split(",")):
        rates = [found[items, layout] for layout in LAYOUTS]
        shown = (f"{median(each):.0f} ({min(each):.0f} to {max(each):.0f})" for each in rates)
        ratios = [own / multi for multi, own in zip(*rates, strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {items} | {' | '.join(shown)} | {spread} |")


if __name__ == "__main__":
    main()
