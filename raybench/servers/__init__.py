"""Real servers: find, start, wait until ready, describe, stop."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from raybench.clients.grpc.connection_credentials import PLAIN, Access
from raybench.config import ECHO, IMAGE_PX, IN_PROCESS, Benchmark, ConfigError, ServerSpec
from raybench.servers import model_server, wheel
from raybench.servers.served_models import resolved
from raybench.servers.server_process import LOOPBACK, ServerError, ServerProcess, ServerUnavailable, check_bind

__all__ = [
    "Running",
    "ServerError",
    "ServerUnavailable",
    "bind_warning",
    "facts",
    "header_leak_warning",
    "platform_problem",
    "running",
    "unsupported_reason",
]

_METRICS = {"triton": "/metrics", "tfserving": model_server.METRICS}


@dataclass(frozen=True)
class Running:
    """A server that can be loaded: where, what it is, what opens it, and, where it is ours, its parts and its failure.

    `pid` is the root of the process tree whose memory is the server's, on the host that the server was started on, with
    so many `cores`; `parts` are the pids and names of its processes when it was ready. `metrics_url` is where its page
    of metrics is, or would be. `failure` says why a server of ours can no longer be loaded, with its last lines; None
    where it can.
    """

    url: str
    facts: dict[str, Any]
    is_ours: bool = False
    pid: int | None = None
    cores: int | None = None
    metrics_url: str | None = None
    parts: Mapping[int, str] = field(default_factory=dict)
    failure: Callable[[], str | None] = lambda: None
    access: Access = PLAIN


def _failure(process: ServerProcess, parts: Mapping[int, str], is_ready: Callable[[], bool]) -> str | None:
    if process.exit_code is not None:
        return f"the server ended with exit code {process.exit_code}; {process.tail()}"
    there = process.processes()
    if gone := [f"{name} (pid {pid})" for pid, name in parts.items() if pid not in there]:
        return f"a part of the server ended: {', '.join(gone)}; {process.tail()}"
    return None if is_ready() else f"the server runs and no longer answers; {process.tail()}"


def facts(server: ServerSpec) -> dict[str, Any]:
    """What is known of a server before it runs; None is not known yet, or not ours to know."""
    return {
        "kind": server.kind,
        "launcher": "url" if server.url and server.kind != "fake" else None,
        "version": None,
        "instances": server.instances if server.kind == "triton" and server.is_ours else None,
        "url": server.url,
        "config": None,
    }


def platform_problem(server: ServerSpec) -> str | None:
    """Why this machine would make a server that we start fail or lie, with the remedy; None where it can run.

    A server that is merely not installed is skipped with its reason instead: the others can still be measured.
    """
    is_wheel = server.kind == "triton" and server.is_ours and wheel.installed()
    reason = wheel.unsupported_reason() if is_wheel else None
    return str(reason) if reason else None


def unsupported_reason(server: ServerSpec, benchmark: Benchmark) -> str | None:
    """Why this machine could not run a server of ours, or lacks the models, as a sentence; None where it can."""
    if reason := platform_problem(server):
        return f"server is {server.kind}; {reason}"
    try:
        if server.is_ours:
            check_bind(benchmark.server_bind)
        resolved(benchmark.models_conf, tuple(model for model in benchmark.all_models if model != ECHO))
    except (ConfigError, ServerError) as error:
        return str(error)
    return None


def bind_warning(server: ServerSpec, bind: str) -> str | None:
    """Who but this host can reach a server that we start, as a sentence; None where nobody can."""
    trust = "let only hosts that you trust reach it"
    is_binary = server.kind == "tfserving" and model_server.is_on_path()
    if server.is_ours and is_binary:
        return f"{model_server.BINARY} has no flag for an address and listens on all of this machine's: {trust}"
    if not server.is_ours or bind in LOOPBACK:
        return None
    old = "; this Triton (2.51) predates known security fixes, so" if server.kind == "triton" else ":"
    return f"the server listens on {bind}{old} {trust}"


def header_leak_warning(server: ServerSpec, benchmark: Benchmark) -> str | None:
    """Who could read the headers that a server is sent, as a sentence; None where nobody on the way can."""
    if benchmark.transport(server) == IN_PROCESS or benchmark.tls_ca or not benchmark.header:
        return None
    host = (server.url or "").rpartition(":")[0].strip("[]")
    if host in LOOPBACK:
        return None
    return f"headers go to {server.url} in plain text: let nobody listen who is not to know them, or give --tls-ca"


@contextmanager
def running(server: ServerSpec, benchmark: Benchmark, access: Access = PLAIN) -> Iterator[Running]:
    """The server under test, started unless a url names it, which `access` opens; stopped on the way out.

    Raises ServerUnavailable where it cannot be had here and ServerError where it failed to start.
    """
    if not server.is_ours:
        yield Running(url=server.url or "", facts=facts(server), metrics_url=_metrics_url(server), access=access)
        return
    with _triton(server, benchmark) if server.kind == "triton" else _tfserving(benchmark) as ours:
        known = {"launcher": ours.launcher, "version": ours.version, "url": ours.grpc_url, "config": ours.config}
        parts = ours.process.processes()
        yield Running(
            url=ours.grpc_url,
            facts=facts(server) | known,
            is_ours=True,
            pid=ours.pid,
            cores=os.cpu_count(),
            metrics_url=ours.urls["metrics"],
            parts=parts,
            failure=partial(_failure, ours.process, parts, ours.is_ready),
        )


def _metrics_url(server: ServerSpec) -> str | None:
    """Beside the gRPC port, where Triton's metrics and TF Serving's REST are unless someone has put them elsewhere."""
    host, _, port = (server.url or "").rpartition(":")
    path = _METRICS.get(server.kind)
    return f"http://{host}:{int(port) + 1}{path}" if path and port.isdecimal() else None


def _triton(server: ServerSpec, benchmark: Benchmark) -> Any:
    from raybench.servers.triton_server import TritonOptions, running_triton

    shapes = {(load.signature, "images", (load.batch_size, IMAGE_PX, IMAGE_PX, 3)) for load in benchmark.variants}
    options = TritonOptions(
        models_conf=benchmark.models_conf,
        models=tuple(model for model in benchmark.all_models if model != ECHO),
        instances=server.instances,
        warm_up=tuple(sorted(shapes)),
        bind=benchmark.server_bind,
    )
    return running_triton(options)


def _tfserving(benchmark: Benchmark) -> Any:
    from raybench.servers.tfserving_server import TfServingOptions, running_tfserving

    shapes = {(model, load.signature, load.batch_size) for load in benchmark.variants for model in load.model}
    options = TfServingOptions(
        models_conf=benchmark.models_conf,
        models=benchmark.all_models,
        warm_up=tuple(sorted(shapes)),
        bind=benchmark.server_bind,
    )
    return running_tfserving(options)
