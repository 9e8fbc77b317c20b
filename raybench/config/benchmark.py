"""What one run does: frozen values."""

import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

SERVER_KINDS = ("triton", "tfserving", "local", "fake")
_STARTED_KINDS = ("triton", "tfserving")  # those that raybench starts as processes of their own
UI_KINDS = ("live", "plain", "none")
CONTINUE, STOP = LOSS_KINDS = ("continue", "stop")  # of a run that lost a worker or a node
VARIANTS = ("no-opt", "xla-amp")
IMAGE_PX = 224
IMAGE_BYTES = IMAGE_PX * IMAGE_PX * 3  # as pixels
ECHO = "echo"  # Triton's model that does nothing: what the client and the transport cost
JPEGS = "predict_jpegs"  # the signature that takes JPEG files in place of pixels
LOAD_KEYS = (
    "model", "signature", "workers", "concurrency", "request_rate", "request_distribution", "max_in_flight",
    "batch_size", "request_count", "duration", "warmup_request_count", "warmup_timeout", "timeout", "shared_memory",
)  # fmt: skip
ALTERNATIVES = (("request_count", "duration"), ("concurrency", "request_rate"))  # of each pair a trial has one
DISTRIBUTIONS = ("constant", "poisson")
SHARED_MEMORY_KINDS = ("none", "system")
IN_PROCESS, GRPC, GRPC_TLS, SHARED_MEMORY = (
    "in process",
    "grpc",
    "grpc over TLS",
    "shared memory",
)  # how requests travel
PRELOAD, STREAM = FEED_KINDS = (
    "preload",
    "stream",
)  # encoded before the start; or read and encoded while they are sent
SIZE = re.compile(r"([1-9]\d{0,8})(MiB|GiB)", re.ASCII)
_DEFAULT_BUDGET = "1GiB"
_UNIT_BYTES = {"MiB": 2**20, "GiB": 2**30}
LANES = 64  # of a worker in an open loop, where nothing else is asked
LARGEST_SEED = 2**32 - 1  # of Keras and of numpy

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


class ConfigError(ValueError):
    """A wrong configuration: one sentence with field, value and remedy."""


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """A server under test; with `url` it runs already, without we start it."""

    kind: str
    instances: int = 1
    url: str | None = None
    number: int | None = None  # of scripted servers, where there are several

    @property
    def is_ours(self) -> bool:
        """Whether raybench starts it, as a process of its own."""
        return self.kind in _STARTED_KINDS and not self.url

    @property
    def label(self) -> str:
        if self.number:
            return f"{self.kind} {self.number}"
        return f"triton x{self.instances}" if self.kind == "triton" and self.is_ours else self.kind


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One run. Field names are the flags' and the YAML keys' words; counts are totals of a trial.

    `loads`, which only a YAML has, are mappings of some of LOAD_KEYS: each makes cells of its own.
    """

    name: str = "run"
    server: tuple[str, ...] = ("local", "triton")
    url: Mapping[str, str] = field(default_factory=dict)
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_server_name: str | None = None
    header: Mapping[str, str] = field(default_factory=dict)  # values name variables of the environment
    instances: tuple[int, ...] = (1,)
    model: tuple[str, ...] = ("efficientnetb0-no-opt",)
    mix: bool = False
    signature: str = "predict_images"
    models: str = "models"
    workers: int = 4
    concurrency: int | None = None
    request_rate: tuple[float, ...] = ()
    request_distribution: str = "poisson"
    max_in_flight: int | None = None
    shared_memory: str = "none"
    batch_size: int = 8
    request_count: int | None = None
    duration: float | None = None
    warmup_request_count: int | None = None
    warmup_timeout: float = 5.0
    stability_percentage: float = 10.0
    rounds: int = 1
    baseline: str | None = None
    seed: int = 0
    images: str = "photos"
    jpeg_quality: int = 90
    feed: str = PRELOAD
    memory_budget: str | None = None
    timeout: float = 60.0
    heartbeat_timeout: float = 10.0
    on_loss: str = CONTINUE
    address: str | None = None
    wait_for_workers: float = 0.0  # seconds
    server_node: str | None = None
    server_bind: str = "127.0.0.1"
    out: str = "results"
    ui: str = "live"
    strict: bool = False
    max_error_rate: float = 0.0
    threshold: tuple[str, ...] = ()
    verify: bool = True
    calibrate: bool | None = None  # where we start Triton
    tolerance: float | None = None
    loads: tuple[Mapping[str, Any], ...] = ()

    @property
    def variants(self) -> tuple["Benchmark", ...]:
        """The benchmark once for each of its `loads`, with that load's values in place; itself where it has none."""
        return tuple(_with_load(self, load) for load in self.loads) or (self,)

    @property
    def in_flight(self) -> int:
        """The most requests that are in flight at once, over all workers."""
        if self.request_rate:
            return self.max_in_flight or LANES * self.workers
        return self.workers * (self.concurrency or 1)

    @property
    def budget(self) -> str:
        """How much the workers of a trial may hold of images, encoded or about to be."""
        return self.memory_budget or _DEFAULT_BUDGET

    @property
    def budget_bytes(self) -> int:
        return int(self.budget[:-3]) * _UNIT_BYTES[self.budget[-3:]]

    @property
    def most_workers(self) -> int:
        return max(variant.workers for variant in self.variants)

    @property
    def all_models(self) -> tuple[str, ...]:
        """The models of every load, each once."""
        return tuple(dict.fromkeys(model for variant in self.variants for model in variant.model))

    @property
    def servers(self) -> tuple[ServerSpec, ...]:
        """The servers under test; each number of Triton instances, and each script of the fake, is one of its own."""
        specs = []
        for kind in self.server:
            if kind == "fake":
                specs += _scripted(self.url.get(kind))
                continue
            counts = self.instances if kind == "triton" and kind not in self.url else (1,)
            specs += [ServerSpec(kind=kind, instances=n, url=self.url.get(kind)) for n in counts]
        return tuple(specs)

    def transport(self, server: ServerSpec) -> str:
        """How requests travel to a server."""
        if server.kind in ("local", "fake"):
            return IN_PROCESS
        if server.kind == "triton" and self.shared_memory == "system":
            return SHARED_MEMORY
        return GRPC_TLS if self.tls_ca else GRPC

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the servers in the table, each once."""
        pairs = ((server, variant) for server in self.servers for variant in self.variants)
        return tuple(dict.fromkeys(labelled(server, variant.transport(server)) for server, variant in pairs))

    @property
    def models_conf(self) -> Path:
        return Path(self.models) / "models.conf"


def _scripted(url: str | None) -> list[ServerSpec]:
    """The scripted servers of a url such as `service_ms=20; service_ms=22`; they are numbered where there are many."""
    scripts = [script.strip() for script in (url or "").split(";") if script.strip()]
    if len(scripts) < 2:
        return [ServerSpec(kind="fake", url=url)]
    return [ServerSpec(kind="fake", url=script, number=number) for number, script in enumerate(scripts, 1)]


def triton_model(model: str) -> str:
    """Which model of Triton answers for a model of ours: all SavedModels live behind one."""
    return ECHO if model == ECHO else "saved_model"


def labelled(server: ServerSpec, transport: str) -> str:
    """A server's name in the table; what is not the network is told with it."""
    return f"{server.label} ({transport})" if transport == SHARED_MEMORY else server.label


def _with_load(benchmark: Benchmark, load: Mapping[str, Any]) -> Benchmark:
    """The benchmark with a load's values; where it has a duration, a count of the benchmark is put aside, and so on."""
    put_aside = {name: getattr(Benchmark, name) for name in alternatives(load)}
    return replace(benchmark, **{**put_aside, **load, "loads": ()})


def alternatives(names: Iterable[str]) -> set[str]:
    """The names, and those that they stand in place of: a trial has one length and one kind of loop."""
    given = set(names)
    return given.union(*(pair for pair in ALTERNATIVES if given & set(pair)))


def input_name(signature: str) -> str:
    """The one input of a signature that raybench calls."""
    return "jpeg_images" if signature == JPEGS else "images"


def is_text(text: str) -> bool:
    """Whether a text that a user gave can stand in a line, a file's name and a path."""
    return bool(text.strip()) and text.isprintable()


def short(value: object) -> str:
    """A value as it may be shown: in one line that is not long."""
    return _repr.repr(value)
