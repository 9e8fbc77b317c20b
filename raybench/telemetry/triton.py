"""What Triton says of itself, read outside the timed path: its statistics, its configuration."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
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
    cache_hit: int
    cache_miss: int
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


def read_config(url: str, model: str) -> Any:
    """The complete ModelConfig message of a model as Triton runs it; None where Triton does not give it."""
    with triton_grpc.InferenceServerClient(url) as client:
        try:
            return client.get_model_config(model, client_timeout=_TIMEOUT_S).config
        except InferenceServerException:
            return None


def read_about(url: str, model: str, signature: str) -> dict[str, Any]:
    """What raybench's python backend says about a model in it; nothing where another backend answers."""
    routing = {"model_name": model, "signature": signature}
    inputs = [
        triton_grpc.InferInput(name, (1, 1), "BYTES").set_data_from_numpy(np.array([[text.encode()]], object))
        for name, text in routing.items()
    ]
    wanted = [triton_grpc.InferRequestedOutput("about")]
    with triton_grpc.InferenceServerClient(url) as client:
        try:
            text = client.infer("saved_model", inputs, outputs=wanted, client_timeout=_TIMEOUT_S).as_numpy("about")
        except InferenceServerException:
            return {}
    return {} if text is None else dict(json.loads(text[0]))  # a response cache answers without outputs
