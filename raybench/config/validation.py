"""Checks over several settings of a benchmark, and of folders it names; none needs a server."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from raybench.config.benchmark import SETTINGS, STREAM, Benchmark, resolved
from raybench.config.credentials import SYSTEM
from raybench.config.load_settings import LOAD_SETTINGS, MOST_DUE, MOST_LANES, LoadSettings
from raybench.config.protocols import GRPC, HTTP_COLUMNS, OWN_CLIENT, known_to
from raybench.config.refusal import ConfigError, require
from raybench.config.server_settings import KNOBS, check_merging
from raybench.config.server_spec import ECHO

_HOST = re.compile(r"[\w.-]+", re.ASCII)


def validated(values: Mapping[str, object]) -> Benchmark:
    """The benchmark of values as a user gives them; raises ConfigError for the first that is wrong by itself."""
    try:
        return Benchmark.model_validate(values)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False)[0], resolved(values)) from None


def _refusal(error: ErrorDetails, fields: Mapping[str, object]) -> ConfigError:
    """The sentence for what pydantic found: in a field of the run, or in one of a load."""
    where, holder = error["loc"], fields
    if where[0] == "loads" and len(where) > 2:
        holder = cast("tuple[Mapping[str, object], ...]", fields["loads"])[cast("int", where[1])]
        where = where[2:]
    name = str(where[0])
    return SETTINGS[name].refusal(error, holder.get(name))


def checked(b: Benchmark) -> Benchmark:
    """The benchmark itself; raises ConfigError for the first settings that do not go together."""
    _check_folders(b)
    _check_urls(b)
    for load in b.loads:
        _check_servers(b, load)
        _check_protocols(b, load)
        _check_loop(load)
        if load.request_rate:
            _check_open_loop(load)
    _check_credentials(b)
    _check_baseline(b)
    _check_open_loop_alone(b)
    return b


def _check_folders(b: Benchmark) -> None:
    is_folder = b.images in ("photos", "noise") or _is_folder(b.images)
    require(is_folder, "images", b.images, "give 'photos', 'noise' or a folder")
    require(not b.input or b.images == "photos", "images", b.images, "input is its new name: leave out one of them")
    is_place = _is_folder(b.models) or _is_free(b.models)
    require(is_place, "models", b.models, "name a folder that holds models.conf, or a new one")


def _check_urls(b: Benchmark) -> None:
    remedy = "a Triton given by url keeps its own: leave out one of them"
    require("triton" not in b.url or b.instances == (1,), "instances", b.instances, remedy)
    require("triton" not in b.url or len(b.layout) < 2, "layout", b.layout, remedy)
    needs_triton = "only works with Triton: add -s triton, or leave it out"
    require("triton" in b.server or not b.layout, "layout", b.layout, needs_triton)
    started = [kind for kind in b.server if kind not in b.url]
    for knob in KNOBS:
        asked, having = getattr(b, knob.name), [kind for kind in knob.kinds if kind in started]
        remedy = f"it only works with a server that raybench starts ({', '.join(knob.kinds)}): leave it out"
        require(bool(having) or asked == (0,), knob.name, asked, remedy)
    check_merging(started, {knob.name: getattr(b, knob.name) for knob in KNOBS})


def _check_servers(b: Benchmark, load: LoadSettings) -> None:
    shared = load.shared_memory
    remedy = "shared memory needs all inputs before the start: leave out one of them"
    require(b.feed != STREAM or shared == "none", "feed", b.feed, remedy)
    is_known = ECHO not in load.model or set(b.server) <= {"triton", "fake"}
    require(is_known, "model", ECHO, "only Triton has this model: use -s triton")
    has_triton, needs_triton = "triton" in b.server, "only works with Triton: add -s triton, or leave it out"
    require(has_triton or shared == "none", "shared_memory", shared, needs_triton)
    require(has_triton or not b.calibrate, "calibrate", "true", needs_triton)
    is_one = all(len(server.replicas) < 2 for server in b.servers if server.kind == "triton")
    remedy = "it only works with one Triton, and the url names several: leave it out"
    require(is_one or shared == "none", "shared_memory", shared, remedy)
    require(is_one or not b.calibrate, "calibrate", "true", remedy)


def _check_protocols(b: Benchmark, load: LoadSettings) -> None:
    """Each protocol is that of a server of the run, each server has one of them, and its url names the port."""
    networked = [server for server in b.servers if not server.is_in_process]
    for protocol in load.protocol:
        having = [server for server in networked if protocol in known_to(server.kind)]
        kinds = "TensorFlow Serving" if protocol == HTTP_COLUMNS else "Triton or TensorFlow Serving"
        require(bool(having), "protocol", protocol, f"it only works with {kinds}: add that by -s, or leave it out")
        port, example = ("gRPC", "HOST:PORT") if protocol == GRPC else ("HTTP", "http://HOST:PORT")
        for server in having:
            remedy = f"url {server.kind}={server.url} names no {port} port: add it after a comma, as {example}"
            require(protocol in server.protocols, "protocol", protocol, remedy)
    for server in networked:
        remedy = f"{server.kind} has {', '.join(server.protocols)}: add one of them, or leave out -s {server.kind}"
        require(bool(load.protocols(server)), "protocol", load.protocol, remedy)
    is_used = any(GRPC in load.protocols(server) for server in networked)
    remedy = "it is a client of gRPC: add --protocol grpc, or leave it out"
    require(is_used or load.client == (OWN_CLIENT,), "client", load.client, remedy)


def _check_baseline(b: Benchmark) -> None:
    labels = b.labels
    is_there = b.baseline is None or b.baseline in (*labels, *b.server)
    require(is_there, "baseline", b.baseline, f"choose a server of this run: {', '.join(labels)}")


def _check_loop(load: LoadSettings) -> None:
    is_one = load.request_count is None or load.duration is None
    require(is_one, "duration", load.duration, "request-count is given too: leave out one of them")
    is_one = not load.request_rate or load.concurrency is None
    remedy = "leave it out for a closed loop, or leave out concurrency for an open loop"
    require(is_one, "request_rate", load.request_rate, remedy)
    require(
        bool(load.request_rate) or load.request_count is None or load.request_count >= load.in_flight,
        "request_count",
        load.request_count,
        f"send at least {load.in_flight}: as many are in flight ({load.workers} workers x {load.concurrency})",
    )


def _check_open_loop(load: LoadSettings) -> None:
    count, most = load.request_count, MOST_LANES * load.workers
    many = tuple(rate for rate in load.request_rate if load.duration and rate * load.duration > MOST_DUE)
    require(not many, "request_rate", many, f"a trial has at most {MOST_DUE} requests: shorten duration")
    require(count is None or count <= MOST_DUE, "request_count", count, f"give at most {MOST_DUE}")
    enough = f"send at least one per worker: there are {load.workers} workers"
    require(count is None or count >= load.workers, "request_count", count, enough)
    lanes = f"give {load.workers} to {most}: 1 to {MOST_LANES} per worker"
    require(load.workers <= load.in_flight <= most, "max_in_flight", load.in_flight, lanes)


def _check_open_loop_alone(b: Benchmark) -> None:
    """Settings of an open loop are refused where no load is one."""
    if any(load.request_rate for load in b.loads):
        return
    for name in ("max_in_flight", "request_distribution"):
        for value in (getattr(load, name) for load in b.loads):
            is_default = value == LOAD_SETTINGS[name].default
            require(is_default, name, value, "only works in an open loop: give request-rate too")


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


def _check_credentials(b: Benchmark) -> None:
    """Raise ConfigError where a part is missing, or where a server of this run could not use it."""
    parts = {"tls-ca": b.tls_ca, "tls-cert": b.tls_cert, "tls-key": b.tls_key, "tls-server-name": b.tls_server_name}
    given = {name: value for name, value in parts.items() if value is not None}
    for one, other in (("tls-cert", "tls-key"), ("tls-key", "tls-cert")):
        if one in given and other not in given:
            raise ConfigError(f"{one} is {given[one]}; give {other} too: a certificate needs its key")
    if given and "tls-ca" not in given:
        name, value = next(iter(given.items()))
        raise ConfigError(f"{name} is {value}; only tls-ca turns TLS on: give it too, a file or {SYSTEM}")
    if not _HOST.fullmatch(b.tls_server_name or "none"):
        raise ConfigError(f"tls-server-name is {b.tls_server_name}; give the host name in the server's certificate")
    for said in [
        *(f"{name} is {value}" for name, value in given.items()),
        *(f"header {key} is given" for key in b.header),
    ]:
        _check_credential_servers(b, said)


def _check_credential_servers(b: Benchmark, said: str) -> None:
    """Those that raybench starts speak plain text, on this host."""
    if ours := [server.kind for server in b.servers if server.is_ours]:
        raise ConfigError(f"{said}; raybench starts {ours[0]} itself, in plain text: give its --url, or leave this out")
    if all(server.is_in_process for server in b.servers):
        raise ConfigError(f"{said}; only an already running server takes it: give one by --url, or leave this out")
