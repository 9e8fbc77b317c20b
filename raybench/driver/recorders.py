"""Who records what a server costs: a recorder on the node that holds it, this host's own or an actor's."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.exceptions import GetTimeoutError, RayError

from raybench.config import ServerSpec
from raybench.driver.ray_errors import last_line
from raybench.driver.ray_nodes import alive, here, on
from raybench.driver.start_barrier import measure_clock
from raybench.driver.worker_actor import WorkerLocation
from raybench.servers import RunningServer
from raybench.telemetry.recorder import Recorder, recording, recording_page
from raybench.telemetry.telemetry_buffer import ReadingProblem, Telemetry
from raybench.telemetry.telemetry_schema import BASELINE, IDLE, SCHEMA

_TIMEOUT_S = 30.0
NO_TELEMETRY = Telemetry(rows=SCHEMA.empty_table(), node=None, gpu_source=None, problems=())


class Recording(Protocol):
    """What a trial asks of a recorder, wherever it is."""

    def start(self, phase: str) -> None: ...
    def watch(self, server: int | None, workers: Sequence[int] = ()) -> None: ...
    def set_phase(self, phase: str | None) -> None: ...
    def server_mib(self) -> float | None: ...
    def snapshot(self) -> Telemetry: ...


class Recorders:
    """A recorder for each node that has held a server so far, and for each server on none of this Ray's nodes."""

    def __init__(self, recorder: Recorder, servers_node: str, stack: ExitStack) -> None:
        self._here, self._servers_node, self._stack = recorder, servers_node, stack
        self._node_id = here()
        self._others: dict[str, Recording] = {}

    def before(self, server: ServerSpec) -> None:
        """Note the baseline of a server that is about to be started; what is read next is of it."""
        if server.is_ours:
            recorder = self._on(self._servers_node)
            recorder.start(BASELINE)
            recorder.set_phase(IDLE)

    def of_trial(self, server: ServerSpec, running: RunningServer, workers: Sequence[WorkerLocation]) -> Recording:
        """The recorder of a trial's server, which watches it and the workers beside it.

        A server that we start has had its baseline before; one in a worker has it now, when nothing is loaded yet; one
        that ran already has none.
        """
        node_id = self._node_id if server.kind == "fake" else self.node_of(server, workers)
        root = workers[0].pid if server.kind == "local" else running.pid
        recorder = self._on(node_id) if node_id else self._of_page(server, running)
        if not server.is_ours:
            recorder.start(BASELINE if server.kind == "local" else IDLE)
        recorder.watch(root, [worker.pid for worker in workers if worker.node_id == node_id])
        if server.kind == "local":
            recorder.set_phase(IDLE)
        return recorder

    def node_of(self, server: ServerSpec, workers: Sequence[WorkerLocation]) -> str | None:
        """The id of the node that has a server; None where it is scripted, on none of this Ray's nodes, or several."""
        if server.kind == "local":
            return workers[0].node_id
        if server.is_ours:
            return self._servers_node
        nodes = {_node_of(url, self._node_id) for url in server.replicas} if server.kind != "fake" else set()
        return nodes.pop() if len(nodes) == 1 else None

    def _on(self, node_id: str) -> Recording:
        if node_id == self._node_id:
            return self._here
        return self._kept(node_id, lambda: _elsewhere(node_id))

    def _of_page(self, server: ServerSpec, running: RunningServer) -> Recording:
        """TensorFlow Serving's page has nothing about GPUs."""
        page = running.metrics_url if server.kind == "triton" else None
        return self._kept(server.url or "", lambda: recording_page(page))

    def _kept(self, key: str, made: Any) -> Recording:
        if key not in self._others:
            self._others[key] = self._stack.enter_context(made())
        return self._others[key]


@contextmanager
def recorders(servers_node: str) -> Iterator[Recorders]:
    """Recorders until the block ends, on a connected Ray; servers that raybench starts run on the node with this id.

    To be entered on the main thread.
    """
    with ExitStack() as stack:
        yield Recorders(stack.enter_context(recording()), servers_node, stack)


def _node_of(url: str, driver_id: str) -> str | None:
    """The id of the node that a server's host is; None where that is no node of this Ray cluster."""
    host = url.rpartition(":")[0].strip("[]")
    nodes = alive()
    if found := [node.id for node in nodes if host in (node.address, node.host)]:
        return found[0]
    try:
        addresses = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except OSError:
        return None
    if any(address.startswith("127.") or address == "::1" for address in addresses) or host == socket.gethostname():
        return driver_id
    return next((node.id for node in nodes if node.address in addresses), None)


class _Recorder:
    """A recorder on some node. Its tasks run on the main thread of its process, one after the other."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._recorder = self._stack.enter_context(recording())

    def clock_ns(self) -> int:
        return time.time_ns()

    def start(self, phase: str) -> None:
        self._recorder.start(phase)

    def watch(self, server: int | None, workers: Sequence[int]) -> None:
        self._recorder.watch(server, workers)

    def set_phase(self, phase: str | None) -> None:
        self._recorder.set_phase(phase)

    def server_mib(self) -> float | None:
        return self._recorder.server_mib()

    def snapshot(self) -> Telemetry:
        return self._recorder.snapshot()

    def close(self) -> None:
        self._stack.close()


_RecorderActor: Any = ray.remote(num_cpus=0, max_restarts=0)(_Recorder)


class _Elsewhere:
    """The recorder of another node. The trial goes on without it where it is not available."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._asked: Any = None
        self._server_mib: float | None = None
        self._problems: list[ReadingProblem] = []

    def start(self, phase: str) -> None:
        self._ask("start", phase)

    def watch(self, server: int | None, workers: Sequence[int] = ()) -> None:
        self._ask("watch", server, list(workers))

    def set_phase(self, phase: str | None) -> None:
        self._ask("set_phase", phase)

    def server_mib(self) -> float | None:
        """The earlier answer: no trial waits for another node."""
        if self._asked is None or ray.wait([self._asked], timeout=0)[0]:
            with suppress(RayError):
                self._server_mib = ray.get(self._asked) if self._asked else None
            self._asked = self._actor.server_mib.remote()
        return self._server_mib

    def snapshot(self) -> Telemetry:
        """On the driver's clock."""
        found: Telemetry = self._ask("snapshot") or NO_TELEMETRY
        if found is not NO_TELEMETRY:
            with suppress(RayError, GetTimeoutError):
                found = _shifted(found, measure_clock(self._actor).offset_ns)
        return replace(found, problems=(*found.problems, *self._problems))

    def close(self) -> None:
        self._ask("close")

    def _ask(self, method: str, *arguments: Any) -> Any:
        if self._problems:
            return None
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments), timeout=_TIMEOUT_S)
        except (RayError, GetTimeoutError) as error:
            self._problems.append(ReadingProblem(time.time_ns(), "the node's recorder", last_line(error)))
            return None


@contextmanager
def _elsewhere(node_id: str) -> Iterator[_Elsewhere]:
    actor = _RecorderActor.options(**on(node_id)).remote()
    recorder = _Elsewhere(actor)
    try:
        yield recorder
    finally:
        recorder.close()
        ray.kill(actor)


def _shifted(found: Telemetry, ahead_ns: int) -> Telemetry:
    """On a clock that the recorder's is so far ahead of."""
    times = pc.subtract(found.rows["time_ns"], pa.scalar(ahead_ns, pa.int64()))
    rows = found.rows.set_column(0, SCHEMA.field(0), times)
    return replace(found, rows=rows, problems=tuple(replace(p, time_ns=p.time_ns - ahead_ns) for p in found.problems))
