"""How many items are made before a start, within the memory that requests may take."""

from raybench.config import load
from raybench.inputs.memory_budget import items_of_load


def test_text_takes_more_of_the_budget_than_tensors() -> None:
    """A load that a server gets as JSON makes fewer items before the start: as text each takes up to six times more."""
    asked = {"server": ("triton",), "memory_budget": "60MiB", "duration": 1, "batch_size": 1, "workers": 1}
    counts = []
    for protocol in (("grpc", "http"), ("grpc", "http-json")):
        benchmark = load(None, {**asked, "protocol": protocol})
        counts.append(items_of_load(benchmark, benchmark.loads[0], 2**20, distinct=1_000))
    assert counts == [60, 10]
