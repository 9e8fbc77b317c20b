"""A worker's connections to its models, and batches encoded into requests for them."""

import resource
import socket
import time
from typing import Any

from raybench.clients import connect, shared_region
from raybench.clients.base import (
    Client,
    ClientError,
    Description,
    InputRegion,
    MalformedReplyError,
    Reply,
    UnsupportedReplyError,
)
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.replicas import Turns, at_random, in_turn
from raybench.config import IN_PROCESS, replica_urls
from raybench.inputs.batch_axis import on_the_wire
from raybench.inputs.stored_items import SkippedRows
from raybench.inputs.tensors import Batch, size_bytes
from raybench.results.records import ConversionCost, CopyCost
from raybench.worker.feed import Request, RequestItems
from raybench.worker.task import EchoAddress, PayloadSummary, Task

_LONGEST = 200
_OTHER_FILES = 500  # that a process of Ray's has open beside its connections, and some more


class Encoder:
    """The clients of a worker's models, round robin over the payloads; raises ClientError where one cannot be used."""

    def __init__(self, task: Task, credentials: ConnectionCredentials) -> None:
        _allow_connections(task)
        cell = task.cell
        self._task, self._hashes, self._request_bytes = task, list[str](), 0
        self._skipped: SkippedRows | None = None
        self._encoded: ConversionCost | None = None
        self._decoded: ConversionCost | None = None
        self._region = _region(task, credentials)
        self._clients = [
            connect(
                cell.server,
                url=task.url,
                model=model,
                signature=cell.signature,
                models=task.models,
                region=self._region,
                spec=spec,
                credentials=credentials,
                turns=_turns(task, number),
                protocol=cell.load.protocol,
                client=cell.load.client,
            )
            for number, (model, spec) in enumerate(zip(cell.models, task.signatures, strict=True))
        ]

    def describe(self) -> Description:
        """What answers for the first model; all are asked."""
        descriptions = [client.describe() for client in self._clients]
        return descriptions[0]

    def encode(self, items: RequestItems) -> Request:
        """A request to the model whose turn it is; what it holds is noted when it comes for the first time."""
        self._skipped = items.skipped or self._skipped
        turn = items.payload % len(self._clients)
        client, signature = self._clients[turn], self._task.signatures[turn]
        before = self._region.size if self._region else 0
        body = self._body(client, on_the_wire(items.batch, signature))
        placed = self._region.size - before if self._region else 0
        kept = items.batch if items.is_kept else None
        request = Request(items.payload, client.send, body, _size(body) + placed, kept)
        if len(self._hashes) == items.payload * len(items.hashes):
            self._hashes += items.hashes
            self._request_bytes = self._request_bytes or request.size
        return request

    def register(self, echo: EchoAddress | None) -> None:
        """Have Triton map the shared memory, once all is encoded, and the one that does nothing too."""
        if self._region:
            self._region.register(echo.control_url if echo else None)

    def prepare(self, calls: int) -> None:
        """Open the connections that so many calls at once to each model will need."""
        for client in self._clients:
            client.prepare(calls)

    def decode(self, payload: int, reply: Reply) -> dict[str, Any]:
        """The outputs by name; raises MalformedReplyError or UnsupportedReplyError."""
        began_s = time.thread_time()
        try:
            outputs = self._clients[payload % len(self._clients)].decode(reply)
        except UnsupportedReplyError:
            raise
        except Exception as error:  # a server may answer with anything
            said = " ".join(str(error).split())[:_LONGEST]
            raise MalformedReplyError(f"{type(error).__name__}: {said} ({reply.received_bytes} bytes)") from error
        self._decoded = self._more(self._decoded, reply.received_bytes, time.thread_time() - began_s)
        return outputs

    @property
    def decoded(self) -> ConversionCost | None:
        """What decoding cost until now; None where no reply could be read."""
        return self._decoded

    def copied(self, since: CopyCost | None = None) -> CopyCost | None:
        """What copying inputs to a GPU cost since then; None where they are not copied there."""
        if self._region is None or (copied := self._region.copied) is None:
            return None
        requests, took_ns = copied
        before = since or CopyCost(requests=0, wall_s=0.0)
        return CopyCost(requests=requests - before.requests, wall_s=took_ns / 1e9 - before.wall_s)

    def summary(self, held_mib: float | None) -> PayloadSummary:
        """What was encoded until now."""
        requests = len(self._hashes) // self._task.cell.load.batch_size
        hashes, size = tuple(self._hashes), self._request_bytes
        return PayloadSummary(requests, hashes, size, held_mib, self._skipped, self._encoded)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        if self._region:
            self._region.close()

    def _body(self, client: Client, batch: Batch) -> Any:
        """An encoded request; its cost is noted, of this thread alone: lanes may be sending at the same time."""
        began_s = time.thread_time()
        body = client.encode(batch)
        self._encoded = self._more(self._encoded, _size(body), time.thread_time() - began_s)
        return body

    def _more(self, before: ConversionCost | None, body_bytes: int, cpu_s: float) -> ConversionCost:
        """The cost with that of one more request or reply."""
        size = self._task.cell.load.batch_size
        if before is None:
            return ConversionCost(items=size, body_bytes=body_bytes, cpu_s=cpu_s)
        return ConversionCost(
            items=before.items + size, body_bytes=before.body_bytes + body_bytes, cpu_s=before.cpu_s + cpu_s
        )


def _region(task: Task, credentials: ConnectionCredentials) -> InputRegion | None:
    if task.region is None:
        return None
    load = task.cell.load
    lanes = load.lanes[task.worker]
    url = task.control_url or task.url
    return shared_region(load.transport, url, task.region, lanes=lanes, credentials=credentials)


def _turns(task: Task, model: int) -> Turns:
    """How the requests to a model are spread over replicas: each gets a stream of the same kind as they all are."""
    load, replicas = task.cell.load, len(replica_urls(task.cell.server.kind, task.url))
    if load.arrivals == "poisson":
        return at_random(replicas, (*task.seed, task.worker, model))
    return in_turn(replicas, first=task.worker, step=load.workers)


def _size(request: Any) -> int:
    """The bytes of an encoded request."""
    return size_bytes(request) if isinstance(request, dict) else len(request)


def _allow_connections(task: Task) -> None:
    """Each lane has one to each model of each server: let this process hold so many, where its host does.

    Raises ClientError where it does not.
    """
    load = task.cell.load
    servers = max(1, len(replica_urls(task.cell.server.kind, task.url)))
    needed = load.lanes[task.worker] * len(task.cell.models) * servers + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if load.transport == IN_PROCESS or soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ClientError(
            f"worker {task.worker} needs {needed} open files for its lanes, but {socket.gethostname()} allows a "
            f"process {hard}: use fewer lanes per worker, or raise ulimit -n"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
