"""Triton's own statistics, read outside the timed path."""

from dataclasses import asdict, dataclass

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Statistics:
    """Counters since Triton loaded the model. Triton counts a request that was answered with an error as a success,
    and charges each request of a merged execution the whole of it."""

    success: int
    fail: int
    executions: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int


def read(url: str, model: str) -> Statistics | None:
    """ModelStatistics over gRPC; None where Triton does not give them."""
    client = triton_grpc.InferenceServerClient(url)
    try:
        stats = client.get_inference_statistics(model, client_timeout=_TIMEOUT_S).model_stats[0]
    except (InferenceServerException, IndexError):
        return None
    finally:
        client.close()
    infer = stats.inference_stats
    return Statistics(
        success=infer.success.count,
        fail=infer.fail.count,
        executions=stats.execution_count,
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
