"""What one worker does in one trial, and what it says of its requests."""

from dataclasses import dataclass

from raybench.config.plan import Cell
from raybench.inputs.stored_items import SkippedRows
from raybench.models.saved_models import Signature
from raybench.results.records import ConversionCost, CopyCost
from raybench.telemetry.host_cpu import HostLoad


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one worker does in one trial; the counts are this worker's shares."""

    worker: int
    cell: Cell
    signatures: tuple[Signature, ...]  # of the cell's models
    url: str  # to which requests go
    models: str
    request_count: int | None
    warmup_request_count: int | None  # None: until steady
    seed: tuple[int, ...] = (0,)  # of the due times; the same for all workers
    control_url: str | None = None  # where a Triton is asked about its shared memory; None: where requests go
    region: str | None = None  # name of the shared memory that holds its inputs; None: they are in the requests
    stream_bytes: int = 0  # what it may hold of encoded requests, where they are streamed


@dataclass(frozen=True)
class EchoAddress:
    """Where a Triton that does nothing takes requests, and where it is asked about its shared memory."""

    url: str
    control_url: str


@dataclass(frozen=True)
class PayloadSummary:
    """What a worker sends: how many requests of different items, which items, and the size of the first request.

    `skipped` are the rows of a streamed table that this worker was to send and that did not fit; `encoded` is what
    encoding cost.
    """

    requests: int
    item_hashes: tuple[str, ...]
    request_bytes: int
    held_mib: float | None  # by which encoding made the worker's process grow; None: requests come and go
    skipped: SkippedRows | None = None
    encoded: ConversionCost | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerUsage:
    """Where a worker is, and what its process used so far."""

    worker: int
    node: str
    cores: int
    pid: int
    nice: int
    cpu_s: float
    rss_mib: float
    pss_mib: float | None
    host_load: HostLoad | None = None  # of the trial, where this worker was to read it
    copied: CopyCost | None = None  # of the trial, where inputs lie on a GPU
