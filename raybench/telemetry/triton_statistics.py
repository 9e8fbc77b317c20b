"""What Triton says of itself, read outside the timed path: its statistics, its GPUs, its configuration."""

from contextlib import closing
from dataclasses import fields
from functools import reduce
from operator import add
from typing import Any

from raybench.clients.grpc.channel import CallError
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.triton_client import TritonClient
from raybench.clients.triton_service import triton_service
from raybench.telemetry.effective_config import BackendFacts
from raybench.telemetry.gpu import GpuRow
from raybench.telemetry.prometheus_text import Metric
from raybench.telemetry.server_statistics import ServerStatistics

_GPU_FAMILIES = {
    "nv_gpu_memory_used_bytes": ("gpu_used_mib", 2**-20),
    "nv_gpu_memory_total_bytes": ("gpu_total_mib", 2**-20),
    "nv_gpu_utilization": ("gpu_utilization_pct", 100.0),
    "nv_gpu_power_usage": ("gpu_power_w", 1.0),
}


class StatisticsReader:
    """ModelStatistics, by a connection of its own."""

    def __init__(self, url: str, *models: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> None:
        self._service, self._models = triton_service(url, credentials), models

    def __call__(self) -> ServerStatistics | None:
        """The counters of the models together; None where Triton does not give them."""
        try:
            answers = [self._service.ask("ModelStatistics", name=name) for name in self._models]
        except CallError:
            return None
        each = [_statistics(stats) for answer in answers for stats in answer.model_stats]  # of its versions
        return reduce(add, each) if each else None

    def close(self) -> None:
        self._service.close()


def _statistics(stats: Any) -> ServerStatistics:
    infer = stats.inference_stats
    return ServerStatistics(
        success=infer.success.count,
        fail=infer.fail.count,
        executions=stats.execution_count,
        cache_hit=infer.cache_hit.count,
        cache_miss=infer.cache_miss.count,
        request_ns=infer.success.ns,
        queue_ns=infer.queue.ns,
        compute_input_ns=infer.compute_input.ns,
        compute_infer_ns=infer.compute_infer.ns,
        compute_output_ns=infer.compute_output.ns,
        batches={each.batch_size: each.compute_infer.count for each in stats.batch_stats},
    )


def gpu_rows(metrics: list[Metric]) -> list[GpuRow]:
    """The GPUs that a Triton sees, by its page of metrics: used and total memory, utilization (there 0..1), power."""
    rows: dict[str, GpuRow] = {}
    for metric in metrics:
        if metric.name in _GPU_FAMILIES and "gpu_uuid" in metric.labels:
            name, scale = _GPU_FAMILIES[metric.name]
            rows.setdefault(metric.labels["gpu_uuid"], {})[name] = metric.value * scale
    return [{"id": uuid, **row} for uuid, row in rows.items()]


def read_config(url: str, model: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> Any:
    """The complete ModelConfig message of a model as Triton runs it; None where Triton does not give it."""
    with closing(triton_service(url, credentials)) as service:
        try:
            return service.ask("ModelConfig", name=model).config
        except CallError:
            return None


def read_about(
    url: str,
    model: str,
    signature: str,
    *,
    is_direct: bool = False,
    credentials: ConnectionCredentials = NO_CREDENTIALS,
) -> BackendFacts:
    """What raybench's python backend says about a model in it; all None where another backend answers."""
    client = TritonClient(url, model=model, signature=signature, is_direct=is_direct, credentials=credentials)
    with closing(client):
        said = client.about()
    return BackendFacts(**{each.name: said.get(each.name) for each in fields(BackendFacts)})
