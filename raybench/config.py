"""Benchmark: what one run does, from YAML and flags, with every check of user input that needs no server."""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, get_type_hints

import yaml

SERVER_KINDS = ("triton", "local", "fake")
UI_KINDS = ("live", "plain", "none")
VARIANTS = ("no-opt", "xla-amp")
IMAGE_PX = 224
ECHO = "echo"  # Triton's model that does nothing: what the client and the transport cost
LOAD_KEYS = (
    "model", "signature", "workers", "concurrency", "batch_size", "request_count", "duration", "warmup_request_count",
    "timeout",
)  # fmt: skip
_LENGTHS = ("request_count", "duration")  # one flag overrides either of the YAML's
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_ADDRESS = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}", re.ASCII)
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60


class ConfigError(ValueError):
    """A wrong configuration: one sentence with field, value and remedy."""


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """A server under test; with `url` it runs already, without we start it."""

    kind: str
    instances: int = 1
    url: str | None = None

    @property
    def label(self) -> str:
        return f"triton x{self.instances}" if self.kind == "triton" and not self.url else self.kind


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
        return tuple(_with_length(self, load, loads=()) for load in self.loads) or (self,)

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


def load(path: Path | None, flags: Mapping[str, Any]) -> Benchmark:
    """The benchmark of a YAML file, or the default one, with the flags that were given laid over it.

    Raises ConfigError for the first field that is wrong.
    """
    values = _from_yaml(path) if path else {}
    if path and "name" not in values:
        values["name"] = path.stem
    given = {key: value for key, value in flags.items() if value is not None and value not in ((), {})}
    overridden = {*given, *(_LENGTHS if set(given) & set(_LENGTHS) else ())}
    values = {key: value for key, value in values.items() if key not in overridden}
    values["loads"] = tuple(
        {key: value for key, value in load.items() if key not in overridden} for load in values.get("loads", ())
    )
    return _checked(_with_defaults(replace(Benchmark(), **{**values, **given})))


def _with_length(benchmark: Benchmark, load: Mapping[str, Any], **changes: Any) -> Benchmark:
    """The benchmark with a load's values; the load's length, where it has one, stands for either of the benchmark's."""
    lengths = dict.fromkeys(_LENGTHS) if set(load) & set(_LENGTHS) else {}
    return replace(benchmark, **{**lengths, **load, **changes})


def _with_defaults(benchmark: Benchmark) -> Benchmark:
    """A trial has one length: 100 requests unless a count or a duration is given; a url names its server."""
    if benchmark.request_count is None and benchmark.duration is None:
        benchmark = replace(benchmark, request_count=100)
    added = tuple(kind for kind in benchmark.url if kind not in benchmark.server)
    return replace(benchmark, server=benchmark.server + added)


def _from_yaml(path: Path) -> dict[str, Any]:
    """The keys of a YAML file in the types of their fields; an error names the line."""
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, value, line in _yaml_pairs(path):
        where = f"{path}, line {line}"
        name = _known(where, key, [f.name for f in fields(Benchmark)])
        if name in lines:
            raise ConfigError(f"{where}: key {key!r} stands in line {lines[name]} already; leave one out")
        values[name], lines[name] = (_loads if name == "loads" else _typed)(where, name, value), line
    return values


def _loads(where: str, name: str, value: Any) -> tuple[dict[str, Any], ...]:
    """A list of mappings, such as [{workers: 4}, {workers: 8, request-count: 50}]."""
    if not isinstance(value, list) or not all(isinstance(load, dict) for load in value):
        raise ConfigError(f"{where}: {name} is {_short(value)}; write a list such as [{{workers: 4}}, {{workers: 8}}]")
    return tuple(
        {(key := _known(f"{where}, load {n}", word, LOAD_KEYS)): _typed(f"{where}, load {n}", key, each)
         for word, each in load.items()}
        for n, load in enumerate(value, 1)
    )  # fmt: skip


def _yaml_pairs(path: Path) -> list[tuple[Any, Any, int]]:
    """Key, value and line of each entry of the file's one mapping."""
    try:
        loader = yaml.SafeLoader(path.read_text())
        node = loader.get_single_node()
        if isinstance(node, yaml.MappingNode):
            loader.flatten_mapping(node)
            build = partial(loader.construct_object, deep=True)
            return [(build(key), build(value), key.start_mark.line + 1) for key, value in node.value]
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: cannot be read as YAML: {error.problem or error.context}") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # such as a date of February 30
        raise ConfigError(f"{path}: cannot be read as YAML: {_one_line(error)}") from error
    raise ConfigError(f"{path}: holds no mapping; write lines such as 'workers: 4'")


def _known(where: str, key: object, names: Sequence[str]) -> str:
    name = str(key).replace("-", "_")
    if name not in names:
        near = "".join(f"did you mean {word}? " for word in get_close_matches(name, names, 1))
        raise ConfigError(f"{where}: key {_short(key)} is unknown; {near}there are {', '.join(sorted(names))}")
    return name


def _typed(where: str, name: str, value: Any) -> Any:
    """A YAML value in the type of its field; a single value stands for a list of one."""
    expected = str(get_type_hints(Benchmark)[name])
    if "tuple" in expected:
        element = int if "int" in expected else str
        values = value if isinstance(value, list) else [value]
        return tuple(_scalar(where, name, element, each) for each in values)
    if "Mapping" in expected:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {name} is {_short(value)}; write 'url: {{triton: HOST:PORT}}'")
        return {_scalar(where, name, str, key): _scalar(where, name, str, each) for key, each in value.items()}
    if value is None and "None" in expected:
        return None
    kinds = {"bool": bool, "int": int, "float": float}
    kind = next((kinds[word] for word in kinds if word in expected), str)
    return _scalar(where, name, kind, value)


def _scalar(where: str, name: str, kind: type, value: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where}: {name} is {_short(value)}; it takes {_KINDS[kind]}")
    return value


def _checked(b: Benchmark) -> Benchmark:
    _require(b.rounds >= 1, "rounds", b.rounds, "give 1 or more")
    _require(b.seed >= 0, "seed", b.seed, "give 0 or more")
    _require(all(n >= 1 for n in b.instances), "instances", b.instances, "give 1 or more")
    _require(b.tolerance is None or 0 < b.tolerance < inf, "tolerance", b.tolerance, "give a number above 0")
    _require(0 <= b.max_error_rate <= 1, "max_error_rate", b.max_error_rate, "give a share between 0 and 1")
    _require(b.ui in UI_KINDS, "ui", b.ui, f"there are {', '.join(UI_KINDS)}")
    for kind in (*b.server, *b.url):
        _require(kind in SERVER_KINDS, "server", kind, f"there are {', '.join(SERVER_KINDS)}")
    _check_list("server", b.server)
    _check_list("instances", b.instances)
    _require(
        ECHO not in b.all_models or set(b.server) <= {"triton", "fake"}, "model", ECHO, "only Triton has it: -s triton"
    )
    for kind, url in b.url.items():
        is_address = kind == "fake" or (bool(_ADDRESS.fullmatch(url)) and 0 < int(url.rpartition(":")[2]) < 2**16)
        _require(is_address, "url", f"{kind}={url}", "write KIND=HOST:PORT")
    _require("local" not in b.url, "url", b.url.get("local"), "local is TensorFlow in the worker, it has no url")
    _require(
        "triton" not in b.url or b.instances == (1,),
        "instances",
        b.instances,
        "a server by url runs as it is: leave out one",
    )
    is_folder = b.images not in ("photos", "noise")
    _require(not is_folder or Path(b.images).is_dir(), "images", b.images, "give 'photos', 'noise' or a folder")
    for variant in b.variants:
        _check_load(variant)
    return b


def _check_load(b: Benchmark) -> None:
    for name in ("workers", "concurrency", "batch_size", "request_count"):
        _require(getattr(b, name) is None or getattr(b, name) >= 1, name, getattr(b, name), "give 1 or more")
    for name in ("timeout", "duration"):
        seconds = getattr(b, name)
        _require(seconds is None or 0 < seconds < inf, name, seconds, "give a time in seconds above 0")
    warmup = b.warmup_request_count
    _require(warmup is None or warmup >= 0, "warmup_request_count", warmup, "give 0 or more")
    _require(
        b.request_count is None or b.duration is None, "duration", b.duration, "leave out request_count or duration"
    )
    _check_list("model", b.model)
    for model in b.model:
        _require(bool(_MODEL.fullmatch(model)), "model", model, "use letters, digits, '.', '_' and '-'")
    in_flight = b.workers * b.concurrency
    _require(
        b.request_count is None or b.request_count >= in_flight,
        "request_count",
        b.request_count,
        f"{in_flight} requests are in flight ({b.workers} workers x {b.concurrency}); send at least as many",
    )


def _check_list(what: str, values: tuple[object, ...]) -> None:
    _require(bool(values), what, values, "name at least one")
    _require(len(set(values)) == len(values), what, values, "name each once")


def _require(holds: bool, name: str, value: object, remedy: str) -> None:
    if not holds:
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
        raise ConfigError(f"{name.replace('_', '-')} is {shown}; {remedy}")


def _short(value: object) -> str:
    """A value as it may be shown: YAML's anchors make small files that are endless when written out."""
    return _repr.repr(value)


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())
