"""Every check of a benchmark that needs no server: one sentence for the first field that is wrong."""

import re
from pathlib import Path
from urllib.parse import quote

from raybench.config import credentials
from raybench.config.benchmark import (
    DISTRIBUTIONS,
    ECHO,
    FEED_KINDS,
    JPEGS,
    LARGEST_SEED,
    LOSS_KINDS,
    SERVER_KINDS,
    SHARED_MEMORY_KINDS,
    SIZE,
    STREAM,
    UI_KINDS,
    Benchmark,
    ConfigError,
    is_text,
    short,
)
from raybench.config.threshold import threshold

_ADDRESS = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}", re.ASCII)
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_LONGEST_NAME = 80  # a name or a signature becomes a part of a file's name, where UTF-8 and %XX make it longer
_LONGEST_S = 10**6
_LONGEST_SHOWN = 200
_MOST = {
    "workers": 10_000,
    "concurrency": 1_000,  # each lane is a thread of its worker
    "batch_size": 10_000,  # a message of protobuf holds 2 GiB
    "max_in_flight": 10**6,
    "jpeg_quality": 100,
    "rounds": 1_000,
    "request_count": 10**9,
    "warmup_request_count": 10**9,
    "seed": LARGEST_SEED,
    "instances": 1_000,
}
_AT_LEAST_0 = ("warmup_request_count", "seed")
_MOST_DUE = 10**7  # due times of a trial; each worker draws them all


def checked(b: Benchmark) -> Benchmark:
    for variant in b.variants:
        _check_numbers(variant)
        _check_texts(variant)
        _check_servers(variant)
        _check_load(variant)
        if variant.request_rate:
            _check_open_loop(variant)
    credentials.check(b)
    _check_baseline(b)
    _check_open_loop_alone(b)
    sends_jpegs = any(variant.signature == JPEGS for variant in b.variants)
    is_default = b.jpeg_quality == Benchmark.jpeg_quality
    _require(sends_jpegs or is_default, "jpeg_quality", b.jpeg_quality, f"it is of --signature {JPEGS}")
    return b


def _check_numbers(b: Benchmark) -> None:
    for name, most in _MOST.items():
        value, least = getattr(b, name), int(name not in _AT_LEAST_0)
        for number in value if isinstance(value, tuple) else (value,):
            _require(number is None or number >= least, name, value, f"give {least} or more")
            _require(number is None or number <= most, name, value, f"give at most {most}")
    for name in ("timeout", "duration", "warmup_timeout"):
        seconds = getattr(b, name)
        most_s = f"give a time in seconds above 0, at most {_LONGEST_S}"
        _require(seconds is None or 0 < seconds <= _LONGEST_S, name, seconds, most_s)
    heartbeat_s = b.heartbeat_timeout
    _require(1 <= heartbeat_s <= _LONGEST_S, "heartbeat_timeout", heartbeat_s, "give a time in seconds of 1 or more")
    waits_s = b.wait_for_workers
    most_s = f"give a time in seconds, at most {_LONGEST_S}"
    _require(0 <= waits_s <= _LONGEST_S, "wait_for_workers", waits_s, most_s)
    percentage = b.stability_percentage
    _require(0 < percentage <= 1e6, "stability_percentage", percentage, "give a percentage above 0, such as 10")
    is_tolerance = b.tolerance is None or 0 < b.tolerance < 1e9
    _require(is_tolerance, "tolerance", b.tolerance, "give a share above 0")
    for text in b.threshold:
        written = "write such as p(99)<50ms, error_rate<1% or throughput>100"
        _require(threshold(text) is not None, "threshold", text, written)
    _require(0 <= b.max_error_rate <= 1, "max_error_rate", b.max_error_rate, "give a share between 0 and 1")


def _check_texts(b: Benchmark) -> None:
    distribution = b.request_distribution
    _require(
        distribution in DISTRIBUTIONS, "request_distribution", distribution, f"there are {', '.join(DISTRIBUTIONS)}"
    )
    _require(b.ui in UI_KINDS, "ui", b.ui, f"there are {', '.join(UI_KINDS)}")
    _require(b.on_loss in LOSS_KINDS, "on_loss", b.on_loss, f"there are {', '.join(LOSS_KINDS)}")
    shared, kinds = b.shared_memory, ", ".join(SHARED_MEMORY_KINDS)
    _require(shared in SHARED_MEMORY_KINDS, "shared_memory", shared, f"there are {kinds}")
    _require(b.feed in FEED_KINDS, "feed", b.feed, f"there are {', '.join(FEED_KINDS)}")
    remedy = "shared memory holds images that are there before the start: leave out one"
    _require(b.feed != STREAM or shared == "none", "feed", b.feed, remedy)
    budget = b.memory_budget
    _require(budget is None or bool(SIZE.fullmatch(budget)), "memory_budget", budget, "write a size such as 512MiB")
    texts = ("address", "server_node", "server_bind", "tls_ca", "tls_cert", "tls_key", "tls_server_name")
    for name in ("name", "signature", "models", "images", "out", *texts):
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
    has_triton, needs_triton = "triton" in b.server, "it is of server triton: add -s triton, or leave it out"
    _require(has_triton or b.shared_memory == "none", "shared_memory", b.shared_memory, needs_triton)
    _require(has_triton or not b.calibrate, "calibrate", "true", needs_triton)
    remedy = "a server by url runs as it is: leave out one"
    _require("triton" not in b.url or b.instances == (1,), "instances", b.instances, remedy)


def _check_baseline(b: Benchmark) -> None:
    labels = b.labels
    is_there = b.baseline is None or b.baseline in (*labels, *b.server)
    _require(is_there, "baseline", b.baseline, f"the servers of this run are {', '.join(labels)}: name one of them")


def _check_load(b: Benchmark) -> None:
    is_one = b.request_count is None or b.duration is None
    _require(is_one, "duration", b.duration, "leave out request_count or duration")
    is_one = not b.request_rate or b.concurrency is None
    _require(is_one, "request_rate", b.request_rate, "leave it out for a closed loop, or concurrency for an open one")
    _require(
        bool(b.request_rate) or b.request_count is None or b.request_count >= b.in_flight,
        "request_count",
        b.request_count,
        f"{b.in_flight} requests are in flight ({b.workers} workers x {b.concurrency}); send at least as many",
    )


def _check_open_loop(b: Benchmark) -> None:
    rates, most = b.request_rate, _MOST["concurrency"] * b.workers
    is_rate = all(0 < rate <= _MOST_DUE for rate in rates) and len(set(rates)) == len(rates)
    _require(is_rate, "request_rate", rates, "give requests a second above 0, each rate once")
    many = tuple(rate for rate in rates if b.duration and rate * b.duration > _MOST_DUE)
    _require(not many, "request_rate", many, f"at most {_MOST_DUE} requests a trial: shorten duration")
    _require(b.request_count is None or b.request_count <= _MOST_DUE, "request_count", b.request_count, "give fewer")
    _require(
        b.request_count is None or b.request_count >= b.workers,
        "request_count",
        b.request_count,
        f"there are {b.workers} workers; send at least as many",
    )
    lanes = f"give at least one a worker ({b.workers}), and at most {_MOST['concurrency']} ({most})"
    _require(b.workers <= b.in_flight <= most, "max_in_flight", b.in_flight, lanes)


def _check_open_loop_alone(b: Benchmark) -> None:
    """What only an open loop has is refused where no load is one."""
    is_open = any(variant.request_rate for variant in b.variants)
    remedy = "it is of an open loop: give request-rate too"
    _require(is_open or b.max_in_flight is None, "max_in_flight", b.max_in_flight, remedy)
    is_default = b.request_distribution == Benchmark.request_distribution
    _require(is_open or is_default, "request_distribution", b.request_distribution, remedy)


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


def _require(holds: bool, name: str, value: object, remedy: str) -> None:
    if not holds:
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        is_plain = is_text(shown) and len(shown) <= _LONGEST_SHOWN
        raise ConfigError(f"{name.replace('_', '-')} is {shown if is_plain else short(shown)}; {remedy}")
