"""What one run does: frozen values."""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

SERVER_KINDS = ("triton", "tfserving", "local", "fake")
_STARTED_KINDS = ("triton", "tfserving")  # those that raybench starts as processes of their own
UI_KINDS = ("live", "plain", "none")
VARIANTS = ("no-opt", "xla-amp")
IMAGE_PX = 224
ECHO = "echo"  # Triton's model that does nothing: what the client and the transport cost
LOAD_KEYS = (
    "model", "signature", "workers", "concurrency", "batch_size", "request_count", "duration", "warmup_request_count",
    "timeout",
)  # fmt: skip
LENGTHS = ("request_count", "duration")  # one flag overrides either of the YAML's
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

    @property
    def is_ours(self) -> bool:
        """Whether raybench starts it, as a process of its own."""
        return self.kind in _STARTED_KINDS and not self.url

    @property
    def label(self) -> str:
        return f"triton x{self.instances}" if self.kind == "triton" and self.is_ours else self.kind


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One run. Field names are the flags' and the YAML keys' words; counts are totals of a trial.

    `loads`, which only a YAML has, are mappings of some of LOAD_KEYS: each makes cells of its own.
    """

    name: str = "run"
    server: tuple[str, ...] = ("local", "triton")
    url: Mapping[str, str] = field(default_factory=dict)
    instances: tuple[int, ...] = (1,)
    model: tuple[str, ...] = ("efficientnetb0-no-opt",)
    mix: bool = False
    signature: str = "predict_images"
    models: str = "models"
    workers: int = 4
    concurrency: int = 1
    batch_size: int = 8
    request_count: int | None = None
    duration: float | None = None
    warmup_request_count: int | None = None
    rounds: int = 1
    seed: int = 0
    images: str = "photos"
    timeout: float = 60.0
    address: str | None = None
    server_bind: str = "127.0.0.1"
    out: str = "results"
    ui: str = "live"
    strict: bool = False
    max_error_rate: float = 0.0
    verify: bool = True
    tolerance: float | None = None
    loads: tuple[Mapping[str, Any], ...] = ()

    @property
    def variants(self) -> tuple["Benchmark", ...]:
        """The benchmark once for each of its `loads`, with that load's values in place; itself where it has none."""
        return tuple(_with_load(self, load) for load in self.loads) or (self,)

    @property
    def most_workers(self) -> int:
        return max(variant.workers for variant in self.variants)

    @property
    def all_models(self) -> tuple[str, ...]:
        """The models of every load, each once."""
        return tuple(dict.fromkeys(model for variant in self.variants for model in variant.model))

    @property
    def servers(self) -> tuple[ServerSpec, ...]:
        """The servers under test; each number of Triton instances is a server of its own."""
        specs = []
        for kind in self.server:
            counts = self.instances if kind == "triton" and kind not in self.url else (1,)
            specs += [ServerSpec(kind=kind, instances=n, url=self.url.get(kind)) for n in counts]
        return tuple(specs)

    @property
    def models_conf(self) -> Path:
        return Path(self.models) / "models.conf"


def triton_model(model: str) -> str:
    """Which model of Triton answers for a model of ours: all SavedModels live behind one."""
    return ECHO if model == ECHO else "saved_model"


def _with_load(benchmark: Benchmark, load: Mapping[str, Any]) -> Benchmark:
    """The benchmark with a load's values; the load's length, where it has one, stands for either of the benchmark's."""
    lengths = dict.fromkeys(LENGTHS) if set(load) & set(LENGTHS) else {}
    return replace(benchmark, **{**lengths, **load, "loads": ()})


def is_text(text: str) -> bool:
    """Whether a text that a user gave can stand in a line, a file's name and a path."""
    return bool(text.strip()) and text.isprintable()


def short(value: object) -> str:
    """A value as it may be shown: in one line that is not long."""
    return _repr.repr(value)
