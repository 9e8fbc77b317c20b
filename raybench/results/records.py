"""The record of a trial: what was observed besides its samples and its telemetry, as values."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from raybench.config.plan import Load
from raybench.telemetry.effective_config import EffectiveConfig
from raybench.telemetry.host_cpu import HostLoad
from raybench.telemetry.server_statistics import ServerStatistics

ConfigValue = str | int | float | bool | None
UNEQUAL = sys.float_info.max  # the difference of what must be equal, or finite, and is not: JSON has no infinity


@dataclass(frozen=True, kw_only=True)
class ServerRecord:
    """A server under test; None is not known yet, or was not ours to know.

    `launcher` is what started it ("url" where it was already running), `config` what it was started with, and
    `effective` the settings that it reports.
    """

    kind: str
    launcher: str | None = None
    version: str | None = None
    instances: int | None = None
    url: str | None = None
    config: Mapping[str, ConfigValue] | None = None
    effective: EffectiveConfig | None = None

    @property
    def uses_gpu(self) -> bool | None:
        """Whether its TensorFlow computes on a GPU, of which it then takes memory; None where it does not say."""
        said = self.effective if self.kind in ("local", "triton") else None
        return None if said is None or said.tensorflow is None else said.gpu_allocator is not None


@dataclass(frozen=True, kw_only=True)
class StartRecord:
    """How long a server took until it could be used, by time.monotonic of the process that spawned it, or by
    time.perf_counter of the worker that is it.

    `ready_s` runs from just before the process was spawned (of `local` and `fake`: before the worker opened them) until
    the server said ready (they were open) and had answered raybench's warm-up calls; `warm_up_s` is the part of it in
    which these calls were made, None where the server does not say.
    """

    ready_s: float
    warm_up_s: float | None


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """The model of a cell, its version as served by default; None is not known."""

    name: str
    version: int | None = None
    sha256: str | None = None
    precision: str | None = None
    xla: bool | None = None


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """An input as the signature declares it: Triton's name of its type, and -1 for each free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class InputRecord:
    """What requests carried: where the items came from, how they were encoded, and into which inputs they went.

    `unit` is what people call an item: "images" or "inferences"; `skipped_rows` says which rows of files did not fit.
    """

    source: str
    encoding: str
    unit: str
    tensors: tuple[TensorRecord, ...]
    skipped_rows: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConversionCost:
    """What a worker spent off the clock on turning items into requests, or replies into arrays.

    `body_bytes` are those of the requests or replies themselves, without inputs in shared memory and without headers;
    `cpu_s` is the CPU time of the thread that converted, so that lanes that send beside it do not count.
    """

    items: int
    body_bytes: int
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class CopyCost:
    """What a worker's lanes spent on the clock on copying inputs to a GPU: of so many measured requests, and how long
    together."""

    requests: int
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """One worker of a trial; a lost worker has no `cpu_s` and says why it was `lost`.

    The clock's offset (worker - driver) is right to `clock_uncertainty_ns`; its drift is None where it was measured
    once. `payload_held_mib` is by how much encoding made the worker's process grow, None where requests come and go.
    `host_load` is what one worker of each host read. `encoded` is of all its requests, `decoded` of the sampled replies
    that could be read, None where there were none; `copied` is None where no inputs were copied to a GPU.
    """

    worker: int
    node: str
    node_id: str
    cores: int
    pid: int
    nice: int
    cpu_s: float | None
    rss_mib: float
    pss_mib: float | None
    clock_offset_ns: int
    clock_round_trip_ns: int
    clock_drift_ns: int | None
    clock_uncertainty_ns: int
    payload_requests: int
    payload_request_bytes: int
    payload_held_mib: float | None
    lost: str | None = None
    host_load: HostLoad | None = None
    encoded: ConversionCost | None = None
    decoded: ConversionCost | None = None
    copied: CopyCost | None = None


@dataclass(frozen=True, kw_only=True)
class PlacementRecord:
    """How many nodes the Ray cluster had, and which of them the server was on; None is none of them."""

    nodes: int
    server_node_id: str | None


@dataclass(frozen=True, kw_only=True)
class ProcessesRecord:
    """Pids: of the process that drove the trial, and of the server's processes with their names."""

    raybench: int
    server: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StatisticsRecord:
    """What a server counted over a trial, and how often a reload started its counters again."""

    counted: ServerStatistics
    resets: int


@dataclass(frozen=True, kw_only=True)
class OutputDifference:
    """Of one output, max|a - b| / max|b| between replies (a) and TensorFlow's own answers (b), or UNEQUAL."""

    name: str
    difference: float


@dataclass(frozen=True, kw_only=True)
class ModelVerification:
    """Replies of one model against TensorFlow's answers to the same items.

    `difference` is that of the output that differs most; `top1` the share of items whose largest score is the same
    class; `nearest` the share of items whose nearest reference is their own; `spread` how far references of different
    items lie apart at least, and `has_power` whether that is far enough to tell a wrong answer.
    """

    model: str
    replies: int
    items: int
    tolerance: float
    difference: float
    outputs: tuple[OutputDifference, ...]
    top1: float | None
    nearest: float
    spread: float
    has_power: bool

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance and self.nearest == 1.0


@dataclass(frozen=True, kw_only=True)
class VerificationRecord:
    """Whether answers agree with TensorFlow's; None with a reason where they could not be compared."""

    agrees: bool | None
    reason: str | None = None
    models: tuple[ModelVerification, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProblemRecord:
    """What telemetry could not read, and since when on the driver's clock."""

    time_ns: int
    source: str
    text: str


@dataclass(frozen=True, kw_only=True)
class TelemetryRecord:
    """Which host's telemetry was read (None: nobody's), what spoke for its GPUs (None: nothing), and what failed."""

    node: str | None
    gpu_source: str | None
    problems: tuple[ProblemRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as it is kept on disk. Stamps are ISO 8601 in UTC; `status` is ok, degraded, failed, skipped or
    interrupted, with a `reason` unless it is ok. `item_hashes` are by worker, in the order of its payloads;
    `mixed` are the models that requests went to in turn where they are several (--mix); `ceiling_reason` says why there
    is no ceiling where one was to be measured; `server_start` is None unless this is the first trial after a start."""

    id: str
    cell: str
    round: int
    label: str
    started: str
    ended: str | None
    status: str
    reason: str | None
    server: ServerRecord
    model: ModelRecord
    signature: str
    load: Load
    input: InputRecord
    processes: ProcessesRecord | None = None
    placement: PlacementRecord | None = None
    workers: tuple[WorkerRecord, ...] = ()
    item_hashes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    server_statistics: StatisticsRecord | None = None
    server_ended: str | None = None
    telemetry: TelemetryRecord | None = None
    verification: VerificationRecord | None = None
    lost: str | None = None
    mixed: tuple[str, ...] = ()
    ceiling_reason: str | None = None
    server_start: StartRecord | None = None
