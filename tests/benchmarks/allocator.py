"""Do the allocator's settings pay with which raybench starts Triton? A Triton with them against one without.

    python tests/benchmarks/allocator.py [--rounds 5] [--seconds 2] [--images 1,16,100]

Two real Tritons stand side by side, alike but for `wheel.malloc`; in each round the bare loop of client.py loads the
model `echo` of both, one after the other in alternating order, with 4 requests in flight. Prints the median requests/s
of each, and the ratio of each round.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from unittest.mock import patch

from client import by_bare_loop

from raybench.servers import wheel
from raybench.servers.triton_server import TritonOptions, running_triton

IN_FLIGHT = 4


def rates(urls: list[str], images: int, options: argparse.Namespace) -> list[tuple[float, ...]]:
    """Requests/s of each Triton, by round; the first round, in which each touches its pages, is left out."""
    found = []
    for number in range(options.rounds + 1):
        order = urls if number % 2 else urls[::-1]
        seen = {url: by_bare_loop("none", url, images, IN_FLIGHT, options.seconds).requests_per_s for url in order}
        found.append(tuple(seen[url] for url in urls))
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--images", default="1,16,100")
    options = parser.parse_args()
    assert wheel.malloc(), "the environment chooses an allocator: there is nothing to compare"
    plain = TritonOptions(models_conf=Path(), models=())
    print("| images | with /s | without /s | with / without, by round | median |\n|---:|---:|---:|---|---:|")
    with ExitStack() as tritons:
        kept = tritons.enter_context(running_triton(plain))
        with patch.object(wheel, "malloc", dict):
            returned = tritons.enter_context(running_triton(plain))
        for images in map(int, options.images.split(",")):
            found = rates([kept.grpc_url, returned.grpc_url], images, options)
            ratios = [ours / theirs for ours, theirs in found]
            medians = " | ".join(f"{median(each):.4g}" for each in zip(*found, strict=True))
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"| {images} | {medians} | {each} | {median(ratios):.2f} |", flush=True)


if __name__ == "__main__":
    main()
