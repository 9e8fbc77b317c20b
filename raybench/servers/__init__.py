"""Real servers: find, start, wait until ready, describe, stop."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.config import ECHO, GRPC, HTTP, Benchmark, ConfigError, ServerSpec, is_http, without_scheme
from raybench.servers import model_server, wheel
from raybench.servers.served_models import resolve_models
from raybench.servers.server_process import LOOPBACK, ServerError, ServerProcess, ServerUnavailable, check_bind
from raybench.servers.start_times import StartTimes, once
from raybench.servers.started_server import StartedServer
from raybench.servers.warm_up import WarmUp

__all__ = [
    "RunningServer",
    "ServeOptions",
    "ServerError",
    "ServerFacts",
    "ServerUnavailable",
    "WarmUp",
    "bind_warning",
    "facts_of",
    "header_leak_warning",
    "metrics_url",
    "platform_problem",
    "running",
    "unsupported_reason",
]

_METRICS_BESIDE = {("triton", True): 2, ("tfserving", True): 0}  # by kind, and whether the url is the HTTP port
_METRICS = {"triton": "/metrics", "tfserving": model_server.METRICS}


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What a server that we start serves, what warms it up, its address, and the most requests in flight.

    With `does_nothing` a Triton takes the requests for those models, and answers how many items they hold. With
    `keeps_gpu_inputs` it leaves inputs on the GPU that a client has put there.
    """

    models_conf: Path
    models: tuple[str, ...]
    warm_up: tuple[WarmUp, ...] = ()
    bind: str = "127.0.0.1"
    in_flight: int = 1
    does_nothing: bool = False
    keeps_gpu_inputs: bool = False


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """What is known of a server; None is not known yet, or not ours to know. `launcher` is what started it."""

    kind: str
    launcher: str | None = None
    version: str | None = None
    instances: int | None = None
    url: str | None = None
    config: Mapping[str, str | int] | None = None


@dataclass(frozen=True)
class RunningServer:
    """A server that can be loaded: where, what it is, what opens it, and, where we started it, its parts and failure.

    `url` is where it is asked about itself: its gRPC port, or the HTTP one where no other is known.
    `pid` is the root of the process tree whose memory is the server's, on the host that the server was started on, with
    so many `cores`; `parts` are the pids and names of its processes when it was ready. `metrics_url` is where its page
    of metrics is, or would be. `failure` says why a server that we started can no longer be loaded, with its last
    lines; None where it can. `start_echo` starts, at the first call, a Triton of as many instances that does nothing
    and ends with the server; it raises ServerError. `begin_stop` tells a server that we started to end, which is waited
    for where it was started.
    """

    url: str
    facts: ServerFacts
    is_ours: bool = False
    pid: int | None = None
    cores: int | None = None
    metrics_url: str | None = None
    parts: Mapping[int, str] = field(default_factory=dict)
    failure: Callable[[], str | None] = lambda: None
    take_start: Callable[[], StartTimes | None] = lambda: None  # of a server that we started, for its first trial
    credentials: ConnectionCredentials = NO_CREDENTIALS
    http_url: str | None = None
    start_echo: "Callable[[], RunningServer] | None" = None
    begin_stop: Callable[[], None] = lambda: None

    def url_of(self, protocol: str) -> str:
        """Where it speaks a protocol; in process its script, or nothing."""
        return self.url if protocol == GRPC else self.http_url or self.url


def _failure(process: ServerProcess, parts: Mapping[int, str], is_ready: Callable[[], bool]) -> str | None:
    if process.exit_code is not None:
        return f"the server stopped with exit code {process.exit_code}; {process.tail()}"
    there = process.processes()
    if gone := [f"{name} (pid {pid})" for pid, name in parts.items() if pid not in there]:
        return f"a process of the server stopped: {', '.join(gone)}; {process.tail()}"
    return None if is_ready() else f"the server runs but no longer answers; {process.tail()}"


def facts_of(server: ServerSpec) -> ServerFacts:
    """What is known of a server before it runs."""
    return ServerFacts(
        kind=server.kind,
        launcher="url" if server.url and server.kind != "fake" else None,
        instances=server.instances if server.kind == "triton" and server.is_ours else None,
        url=server.control_url or None,
    )


def platform_problem(server: ServerSpec) -> str | None:
    """Why a server that raybench starts would fail or give wrong data on this machine, with the remedy; else None.

    A server that is merely not installed is skipped with its reason instead: the others can still be measured.
    """
    is_wheel = server.kind == "triton" and server.is_ours and wheel.installed()
    reason = wheel.unsupported_reason() if is_wheel else None
    return str(reason) if reason else None


def unsupported_reason(server: ServerSpec, options: ServeOptions) -> str | None:
    """Why this machine cannot run a server that raybench starts, or lacks the models; None where it can run."""
    if reason := platform_problem(server):
        return f"server is {server.kind}; {reason}"
    try:
        if server.is_ours:
            check_bind(options.bind)
        resolve_models(options.models_conf, _saved_models(options))
    except (ConfigError, ServerError) as error:
        return str(error)
    return None


def bind_warning(server: ServerSpec, bind: str) -> str | None:
    """A warning where hosts other than this one can reach a server that raybench starts; else None."""
    trust = "make sure that only trusted hosts can reach it"
    is_binary = server.kind == "tfserving" and model_server.is_on_path()
    if server.is_ours and is_binary:
        return f"{model_server.BINARY} listens on every address of this machine, with no flag to change that: {trust}"
    if not server.is_ours or bind in LOOPBACK:
        return None
    old = "; this Triton (2.51) lacks known security fixes:" if server.kind == "triton" else ":"
    return f"the server listens on {bind}{old} {trust}"


def header_leak_warning(server: ServerSpec, benchmark: Benchmark) -> str | None:
    """A warning where headers travel in plain text, so that others may read them; else None."""
    if server.is_in_process or benchmark.tls_ca or not benchmark.header:
        return None
    urls = map(without_scheme, (*server.replicas, *server.urls(HTTP)))
    if all(url.rpartition(":")[0].strip("[]") in LOOPBACK for url in urls):
        return None
    return f"headers go to {server.url} in plain text, where others may read them: use TLS (--tls-ca)"


@contextmanager
def running(
    server: ServerSpec, options: ServeOptions, credentials: ConnectionCredentials = NO_CREDENTIALS
) -> Iterator[RunningServer]:
    """The server under test, started unless a url names it, which `credentials` opens; stopped on the way out.

    Raises ServerUnavailable where it is not available here and ServerError where it failed to start.
    """
    facts = facts_of(server)
    if not server.is_ours:
        yield RunningServer(
            url=server.control_url,
            http_url=",".join(server.urls(HTTP)) or None,
            facts=facts,
            metrics_url=metrics_url(server),
            credentials=credentials,
        )
        return
    with _triton(server, options) if server.kind == "triton" else _tfserving(server, options) as started:
        parts = started.process.processes()
        yield RunningServer(
            url=started.grpc_url,
            http_url=started.http_url,
            facts=ServerFacts(
                kind=facts.kind,
                launcher=started.launcher,
                version=started.version,
                instances=facts.instances,
                url=started.grpc_url,
                config=started.config,
            ),
            is_ours=True,
            pid=started.pid,
            cores=os.cpu_count(),
            metrics_url=started.metrics_url,
            parts=parts,
            failure=partial(_failure, started.process, parts, started.is_ready),
            take_start=once(started.start),
            begin_stop=started.process.begin_stop,
        )


def metrics_url(server: ServerSpec) -> str | None:
    """By the ports that servers have unless someone has put them elsewhere: Triton's HTTP, gRPC and metrics follow each
    other, and so do TF Serving's gRPC and REST, which has the metrics.

    None for several servers: one page is not about all of them.
    """
    if len(server.replicas) > 1:
        return None
    url = next(iter(server.replicas), "")
    host, _, port = without_scheme(url).rpartition(":")
    path, beside = _METRICS.get(server.kind), _METRICS_BESIDE.get((server.kind, is_http(url)), 1)
    return f"http://{host}:{int(port) + beside}{path}" if path and port.isdecimal() else None


def _triton(server: ServerSpec, options: ServeOptions) -> AbstractContextManager[StartedServer]:
    from raybench.servers.triton_server import TritonOptions, running_triton

    triton_options = TritonOptions(
        models_conf=options.models_conf,
        models=_saved_models(options),
        instances=server.instances,
        warm_up=options.warm_up,
        bind=options.bind,
        layout=server.layout,
        settings=server.settings,
        does_nothing=options.does_nothing,
        keeps_gpu_inputs=options.keeps_gpu_inputs,
    )
    return running_triton(triton_options)


def _tfserving(server: ServerSpec, options: ServeOptions) -> AbstractContextManager[StartedServer]:
    from raybench.servers.tfserving_server import TfServingOptions, running_tfserving

    requests = tuple((each.model, each.signature, each.batch) for each in options.warm_up)
    tfserving_options = TfServingOptions(
        models_conf=options.models_conf,
        models=options.models,
        warm_up=requests,
        in_flight=options.in_flight,
        bind=options.bind,
        settings=server.settings,
    )
    return running_tfserving(tfserving_options)


def _saved_models(options: ServeOptions) -> tuple[str, ...]:
    """The models but for the one that does nothing, which Triton has anyway."""
    return tuple(model for model in options.models if model != ECHO)
