"""One observed trial whose requests went to several models (--mix) -> what each of them took; pure."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raybench.analysis.latency import Latency, latency_of
from raybench.analysis.throughput import Requests, count_requests
from raybench.results import samples
from raybench.results.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class ModelLoad:
    """The measured requests to one model, and the response of its successes in the window, in a closed loop their
    service; None without any."""

    model: str
    requests: Requests
    latency_ms: Latency | None


def model_loads(record: TrialRecord, measured: pa.Table, inside: np.ndarray) -> tuple[ModelLoad, ...]:
    """Of each model that requests were mixed over, in its order; nothing where there was one. `inside` are the
    successes of the window, bool [n]."""
    if not record.mixed:
        return ()
    turn = measured["payload"].to_numpy() % len(record.mixed)  # a worker's payloads go to its models in turn
    response_ns = samples.response_ns(measured)
    taken_ns = samples.service_ns(measured) if response_ns is None else response_ns
    return tuple(
        ModelLoad(
            model=model,
            requests=count_requests(measured.filter(pa.array(turn == number))),
            latency_ms=latency_of(taken_ns[inside & (turn == number)]),
        )
        for number, model in enumerate(record.mixed)
    )
