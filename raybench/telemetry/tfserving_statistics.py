"""What TensorFlow Serving counts of itself: its page of metrics, if it was started with one."""

from collections.abc import Collection
from math import floor, log10

from raybench.telemetry.prometheus_text import Metric, fetch
from raybench.telemetry.server_statistics import ServerStatistics

_PREFIX = ":tensorflow:serving:"
_QUEUE, _RUNS = "batching_session:queuing_latency", "batching_session:wrapped_run_count"
_DIGITS = 6
_US = 1000  # its histograms are of microseconds (servables/tensorflow/util.cc)


def read(url: str, models: Collection[str]) -> ServerStatistics | None:
    """The counters of these models; None where there is no such page."""
    metrics = fetch(url)
    return None if metrics is None else statistics(metrics, models)


def statistics(metrics: list[Metric], models: Collection[str]) -> ServerStatistics:
    """Its request_latency is of successes, from the parsed request to the reply; runtime_latency of the session.

    A session that merges (batching_session.cc) waits in there until it runs, and counts its runs of all models as one:
    they are known where no other model was called.
    """
    mine = [each for each in metrics if each.labels.get("model_name") in models and _is_predict(each)]
    queues = [each for each in metrics if each.name.startswith(_PREFIX + _QUEUE)]
    runtime_us, queue_us = _sum(mine, "runtime_latency_sum"), _sum(queues, f"{_QUEUE}_sum")
    return ServerStatistics(
        success=int(_sum(mine, "request_latency_count")),
        fail=int(_sum([each for each in mine if each.labels.get("status") != "OK"], "request_count")),
        executions=_executions(metrics, mine) if queues else int(_sum(mine, "runtime_latency_count")),
        request_ns=int(_sum(mine, "request_latency_sum") * _US),
        queue_ns=int(queue_us * _US) if queues else None,
        compute_infer_ns=int((runtime_us - queue_us) * _US),
        step_ns=_step_us(max(runtime_us, queue_us)) * _US,
    )


def _executions(metrics: list[Metric], mine: list[Metric]) -> int | None:
    """Merged runs; None where it does not say, or some may be of other models."""
    name = "runtime_latency_count"
    is_counted = any(each.name == _PREFIX + _RUNS for each in metrics)
    return int(_sum(metrics, _RUNS)) if is_counted and _sum(metrics, name) == _sum(mine, name) else None


def _step_us(total_us: float) -> int:
    """It prints six digits (absl::StrCat): of 36000 s that it has computed so far, tenths of a second."""
    return int(10 ** max(0, floor(log10(total_us)) - _DIGITS + 1)) if total_us else 0


def _is_predict(metric: Metric) -> bool:
    """Which its labels spell Predict for gRPC and predict for REST."""
    return metric.labels.get("API", "predict").lower() == "predict"


def _sum(metrics: list[Metric], name: str) -> float:
    return sum(each.value for each in metrics if each.name == _PREFIX + name)
