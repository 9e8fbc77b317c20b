"""What Triton says of itself, read outside the timed path: its statistics, its configuration."""

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from raybench.clients.access import PLAIN, Access
from raybench.clients.channel import CallError, Channel
from raybench.clients.kserve import ask
from raybench.clients.triton import TritonClient


@dataclass(frozen=True)
class Statistics:
    """Counters since Triton loaded the model. Triton counts a request that was answered with an error as a success,
    and charges each request of a merged execution the whole of it."""

    success: int
    fail: int
    executions: int
    cache_hit: int
    cache_miss: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int


def read(url: str, model: str, access: Access = PLAIN) -> Statistics | None:
    """ModelStatistics over gRPC; None where Triton does not give them."""
    with closing(Channel(url, access)) as channel:
        try:
            stats = ask(channel, "ModelStatistics", name=model).model_stats[0]
        except (CallError, IndexError):
            return None
    infer = stats.inference_stats
    return Statistics(
        success=infer.success.count,
        fail=infer.fail.count,
        executions=stats.execution_count,
        cache_hit=infer.cache_hit.count,
        cache_miss=infer.cache_miss.count,
        queue_ns=infer.queue.ns,
        compute_input_ns=infer.compute_input.ns,
        compute_infer_ns=infer.compute_infer.ns,
        compute_output_ns=infer.compute_output.ns,
    )


def difference(before: Statistics | None, after: Statistics | None) -> dict[str, int] | None:
    """What happened in between; None where either is missing or a reload reset the counters."""
    if before is None or after is None:
        return None
    old, new = asdict(before), asdict(after)
    delta = {key: new[key] - old[key] for key in new}
    return delta if all(value >= 0 for value in delta.values()) else None


def read_config(url: str, model: str, access: Access = PLAIN) -> Any:
    """The complete ModelConfig message of a model as Triton runs it; None where Triton does not give it."""
    with closing(Channel(url, access)) as channel:
        try:
            return ask(channel, "ModelConfig", name=model).config
        except CallError:
            return None


def read_about(url: str, model: str, signature: str, access: Access = PLAIN) -> dict[str, Any]:
    """What raybench's python backend says about a model in it; nothing where another backend answers."""
    with closing(TritonClient(url, model=model, signature=signature, access=access)) as client:
        text = client.about()
    return {} if text is None else dict(json.loads(text))
