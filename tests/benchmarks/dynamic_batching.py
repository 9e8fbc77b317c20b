"""Does dynamic batching pay? 8 clients of 1 image each, with and without, interleaved in one run.

    python tests/benchmarks/dynamic_batching.py [--models models] [--model NAME] [--rounds 5] [--seconds 8]

Two real Tritons stand side by side, alike but for the cap of a batch (64 images, and 1); in each round both are
loaded, one after the other, in alternating order. Prints images/s and executions per request of each, and the ratio of
the medians.
"""

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from raybench.clients.triton_client import TritonClient
from raybench.config.server_settings import ServerSettings
from raybench.inputs.photos import decode, random_crop, sample_photos
from raybench.servers.triton_server import TritonOptions, running_triton
from raybench.telemetry.server_statistics import StatisticsCounter
from raybench.telemetry.triton_statistics import StatisticsReader

CLIENTS = 8


def requests_per_s(url: str, model: str, seconds: float) -> tuple[float, float]:
    """Requests/s that 8 closed-loop clients of one image get, and Triton's executions per request."""
    photos = [decode(path.read_bytes()) for path in sample_photos()]
    stop = threading.Event()

    def client(number: int) -> int:
        rng = np.random.default_rng(number)
        connection = TritonClient(url, model=model, signature="predict_images")
        requests = [connection.encode({"images": random_crop(photo, rng, 224, 224)[np.newaxis]}) for photo in photos]
        done = 0
        while not stop.is_set():
            reply = connection.send(requests[done % len(requests)], timeout_s=60)
            assert reply.is_ok, reply.error
            done += 1
        connection.close()
        return done

    count = StatisticsCounter(StatisticsReader(url, "saved_model"))
    with ThreadPoolExecutor(CLIENTS) as pool:
        started = time.perf_counter()
        running = [pool.submit(client, number) for number in range(CLIENTS)]
        time.sleep(seconds)
        stop.set()
        total = sum(each.result() for each in running)
        elapsed = time.perf_counter() - started
    found = count.total()
    assert found, "Triton gave no statistics"
    return total / elapsed, found.counted.executions / found.counted.success


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--model", default="efficientnetb0-no-opt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    conf = options.models / "models.conf"
    batching = TritonOptions(models_conf=conf, models=(options.model,))
    alone = TritonOptions(models_conf=conf, models=(options.model,), settings=ServerSettings(merge_max=1))
    rates: dict[str, list[float]] = {"batching": [], "cap of 1 image": []}
    with running_triton(batching) as a, running_triton(alone) as b:
        pairs = [("batching", a.grpc_url), ("cap of 1 image", b.grpc_url)]
        for _, url in pairs:
            requests_per_s(url, options.model, 3)
        for number in range(options.rounds):
            for name, url in pairs if number % 2 == 0 else pairs[::-1]:
                rate, executions = requests_per_s(url, options.model, options.seconds)
                rates[name].append(rate)
                print(f"round {number + 1}  {name:15}  {rate:6.1f} images/s  {executions:.2f} executions a request")
    ratios = [b / s for b, s in zip(rates["batching"], rates["cap of 1 image"], strict=True)]
    print(f"ratio per round {' '.join(f'{ratio:.2f}' for ratio in ratios)}, median {median(ratios):.2f}")


if __name__ == "__main__":
    main()
