"""Benchmark: what one run does, from YAML and flags, with every check of user input that needs no server."""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import quote

from raybench import plain_yaml

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
LARGEST_SEED = 2**32 - 1  # of Keras and of numpy
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_LONGEST_NAME = 80  # a name or a signature becomes a part of a file's name, where UTF-8 and %XX make it longer
_LONGEST_S = 10**6
_LONGEST_SHOWN = 200
_MOST = {
    "workers": 10_000,
    "concurrency": 1_000,  # each lane is a thread of its worker
    "batch_size": 10_000,  # a message of protobuf holds 2 GiB
    "rounds": 1_000,
    "request_count": 10**9,
    "warmup_request_count": 10**9,
    "seed": LARGEST_SEED,
    "instances": 1_000,
}
_AT_LEAST_0 = ("warmup_request_count", "seed")

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


def _with_load(benchmark: Benchmark, load: Mapping[str, Any]) -> Benchmark:
    """The benchmark with a load's values; the load's length, where it has one, stands for either of the benchmark's."""
    lengths = dict.fromkeys(_LENGTHS) if set(load) & set(_LENGTHS) else {}
    return replace(benchmark, **{**lengths, **load, "loads": ()})


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
    for key, value, line in _pairs(path):
        where = f"{path}, line {line}"
        name = _known(where, key, [f.name for f in fields(Benchmark)])
        if name in lines:
            raise ConfigError(f"{where}: key {key!r} stands in line {lines[name]} already; leave one out")
        values[name], lines[name] = (_loads if name == "loads" else _typed)(where, name, value), line
    return values


def _pairs(path: Path) -> list[tuple[Any, Any, int]]:
    try:
        return plain_yaml.pairs(path)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _loads(where: str, name: str, value: Any) -> tuple[dict[str, Any], ...]:
    """A list of mappings, such as [{workers: 4}, {workers: 8, request-count: 50}]."""
    if not isinstance(value, list) or not all(isinstance(load, dict) for load in value):
        raise ConfigError(f"{where}: {name} is {_short(value)}; write a list such as [{{workers: 4}}, {{workers: 8}}]")
    return tuple(_load(f"{where}, load {number}", load) for number, load in enumerate(value, 1))


def _load(where: str, load: Mapping[Any, Any]) -> dict[str, Any]:
    names = {_known(where, key, LOAD_KEYS): value for key, value in load.items()}
    return {name: _typed(where, name, value) for name, value in names.items()}


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
    for variant in b.variants:
        _check_numbers(variant)
        _check_texts(variant)
        _check_servers(variant)
        _check_load(variant)
    return b


def _check_numbers(b: Benchmark) -> None:
    for name, most in _MOST.items():
        value, least = getattr(b, name), int(name not in _AT_LEAST_0)
        for number in value if isinstance(value, tuple) else (value,):
            _require(number is None or number >= least, name, value, f"give {least} or more")
            _require(number is None or number <= most, name, value, f"give at most {most}")
    for name in ("timeout", "duration"):
        seconds = getattr(b, name)
        most_s = f"give a time in seconds above 0, at most {_LONGEST_S}"
        _require(seconds is None or 0 < seconds <= _LONGEST_S, name, seconds, most_s)
    is_tolerance = b.tolerance is None or 0 < b.tolerance < 1e9
    _require(is_tolerance, "tolerance", b.tolerance, "give a share above 0")
    _require(0 <= b.max_error_rate <= 1, "max_error_rate", b.max_error_rate, "give a share between 0 and 1")


def _check_texts(b: Benchmark) -> None:
    _require(b.ui in UI_KINDS, "ui", b.ui, f"there are {', '.join(UI_KINDS)}")
    for name in ("name", "signature", "models", "images", "out", "address", "server_bind"):
        text = getattr(b, name)
        _require(text is None or is_text(text), name, text, "give text without line breaks and control characters")
    for name in ("name", "signature"):
        is_short = len(quote(getattr(b, name), safe="")) <= _LONGEST_NAME
        _require(is_short, name, getattr(b, name), f"give at most {_LONGEST_NAME} characters")
    for model in b.model:
        remedy = f"use letters, digits, '.', '_' and '-', at most {_LONGEST_NAME}"
        _require(bool(_MODEL.fullmatch(model)), "model", model, remedy)
    is_folder = b.images in ("photos", "noise") or _is_folder(b.images)
    _require(is_folder, "images", b.images, "give 'photos', 'noise' or a folder")
    is_place = _is_folder(b.models) or _is_free(b.models)
    _require(is_place, "models", b.models, "name a folder that holds models.conf, or a new one")


def _check_servers(b: Benchmark) -> None:
    for kind in (*b.server, *b.url):
        _require(kind in SERVER_KINDS, "server", kind, f"there are {', '.join(SERVER_KINDS)}")
    for what in ("server", "model", "instances"):
        values = getattr(b, what)
        _require(bool(values), what, values, "name at least one")
        _require(len(set(values)) == len(values), what, values, "name each once")
    _require(ECHO not in b.model or set(b.server) <= {"triton", "fake"}, "model", ECHO, "only Triton has it: -s triton")
    for kind, url in b.url.items():
        _require(is_text(url) and len(url) <= _LONGEST_SHOWN, "url", f"{kind}={url}", "write KIND=HOST:PORT")
        is_address = kind == "fake" or (bool(_ADDRESS.fullmatch(url)) and 0 < int(url.rpartition(":")[2]) < 2**16)
        _require(is_address, "url", f"{kind}={url}", "write KIND=HOST:PORT")
    _require("local" not in b.url, "url", b.url.get("local"), "local is TensorFlow in the worker, it has no url")
    remedy = "a server by url runs as it is: leave out one"
    _require("triton" not in b.url or b.instances == (1,), "instances", b.instances, remedy)


def _check_load(b: Benchmark) -> None:
    is_one = b.request_count is None or b.duration is None
    _require(is_one, "duration", b.duration, "leave out request_count or duration")
    in_flight = b.workers * b.concurrency
    _require(
        b.request_count is None or b.request_count >= in_flight,
        "request_count",
        b.request_count,
        f"{in_flight} requests are in flight ({b.workers} workers x {b.concurrency}); send at least as many",
    )


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # such as a name that is too long
        return False


def _is_free(path: str) -> bool:
    try:
        Path(path).lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def is_text(text: str) -> bool:
    """Whether a text that a user gave can stand in a line, a file's name and a path."""
    return bool(text.strip()) and text.isprintable()


def _require(holds: bool, name: str, value: object, remedy: str) -> None:
    if not holds:
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        is_plain = is_text(shown) and len(shown) <= _LONGEST_SHOWN
        raise ConfigError(f"{name.replace('_', '-')} is {shown if is_plain else _short(shown)}; {remedy}")


def _short(value: object) -> str:
    """A value as it may be shown: in one line that is not long."""
    return _repr.repr(value)
