"""The Ray actor around a Worker, and its end."""

import atexit
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from raybench.clients.base import Description
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.driver.ray_metrics import Metrics, Tags
from raybench.driver.stream_reader import read_ahead, stored
from raybench.inputs.dataset import Shard, StoredShard, StreamedShard, StreamedTable, TableShard
from raybench.inputs.tensors import unnested
from raybench.models.tensorflow_facts import tensorflow_facts
from raybench.results.records import ConversionCost
from raybench.telemetry.effective_config import TensorflowFacts
from raybench.worker.load_worker import Worker
from raybench.worker.reply_sampler import DecodedReplies
from raybench.worker.task import EchoAddress, PayloadSummary, Task, WorkerUsage

_END_S = 5.0


@dataclass(frozen=True)
class WorkerLocation:
    """Where a worker is."""

    node_id: str
    pid: int


class _Worker:
    """A Worker on some node. The control methods answer while `run` streams."""

    def __init__(self, task: Task, tags: Tags) -> None:
        self._worker, self._cell = Worker(task), task.cell
        self._metrics = Metrics(tags, task.cell.load)
        self._name = f"{tags.server} worker {task.worker}"
        atexit.register(os._exit, 0)  # TensorFlow would take a second to go, its memory in the next server's baseline

    def __repr__(self) -> str:
        """What Ray's dashboard calls it."""
        return self._name

    def location(self) -> WorkerLocation:
        return WorkerLocation(ray.get_runtime_context().get_node_id(), os.getpid())

    def open(self, credentials: ConnectionCredentials, echo: EchoAddress | None) -> Description:
        return self._worker.open(credentials, echo)

    def open_s(self) -> float:
        return self._worker.open_s()

    def encode(self, shard: Shard) -> PayloadSummary:
        """All of it, or of a stream what the lanes need to begin."""
        if isinstance(shard, StoredShard | TableShard):
            return self._worker.encode_requests(stored(shard, self._cell))
        if isinstance(shard, StreamedShard | StreamedTable):
            return self._worker.stream(read_ahead(shard, self._cell))
        return self._worker.encode([unnested(block) for block in ray.get(shard.blocks)])

    def warm_up(self) -> pa.Table:
        return self._worker.warm_up()

    def watch_host(self, roots: tuple[int, ...]) -> None:
        """Of the run's process trees, one is that of this node's raylet, which has all workers."""
        self._worker.watch_host((*roots, os.getppid()))

    @ray.method(num_returns="streaming")
    def run(self, start_at_s: float) -> Iterator[pa.Table]:
        yield from self._metrics.publish(self._worker.run(start_at_s), start_at_s)

    @ray.method(concurrency_group="control")
    def halt(self) -> None:
        self._worker.halt()

    @ray.method(concurrency_group="control")
    def clock_ns(self) -> int:
        return self._worker.clock_ns()

    @ray.method(concurrency_group="control")
    def usage(self) -> WorkerUsage:
        return self._worker.usage()

    @ray.method(concurrency_group="control")
    def payloads(self) -> PayloadSummary:
        return self._worker.payloads()

    def tensorflow(self) -> TensorflowFacts:
        """What it computes with, where the endpoint is TensorFlow in this process."""
        found: dict[str, Any] = tensorflow_facts(sys.modules["tensorflow"])
        return TensorflowFacts(**found)

    def calibrate(self) -> pa.Table:
        return self._worker.calibrate()

    def replies(self) -> DecodedReplies:
        return self._worker.replies()

    def decoded(self) -> ConversionCost | None:
        return self._worker.decoded()

    def close(self) -> None:
        self._worker.close()


WorkerActor: Any = ray.remote(num_cpus=1, max_restarts=0, concurrency_groups={"control": 2})(_Worker)


def end(actors: list[Any]) -> None:
    """End workers cleanly: Ray then sends their last metrics to its agent, in about 40 ms.

    A worker that does not exit, for example with a hung request, is killed.
    """
    ended = [each.__ray_terminate__.remote() for each in actors]
    ray.wait(ended, num_returns=len(ended), timeout=_END_S)
    for each in actors:
        ray.kill(each)
