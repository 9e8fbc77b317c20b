"""A server that raybench starts on a given Ray cluster: an actor there is its parent, so that it stops with the run.

Ray ends the actors of a driver that has ended, and the supervisor stops the server when its parent has ended. When a
Ray job is stopped, every process below it is killed after a moment, supervisors too, which then cannot clean up: an
actor is not below it.
"""

import os
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayError

from raybench.config import CUDA_SHARED_MEMORY, ECHO, Benchmark, ConfigError, ServerSpec
from raybench.config.plan import Cell
from raybench.driver.endpoints import Endpoint
from raybench.driver.placement import Placement
from raybench.driver.ray_errors import cause_of, last_line
from raybench.driver.ray_nodes import Node, here, on
from raybench.driver.run_context import RunContext
from raybench.inputs.batch_axis import on_the_wire
from raybench.servers import RunningServer, ServeOptions, ServerError, WarmUp, running, unsupported_reason
from raybench.servers.server_process import EVERYWHERE, endpoint

_START_S = 1000.0  # Triton has 900 s to start; TF Serving 300 s, and as long to warm up
_ASK_S = 30.0
_STOP_S = 60.0


@dataclass(frozen=True)
class Shell:
    """The surroundings of the command, which servers on the same node get too."""

    folder: str
    environment: dict[str, str]
    limits: dict[int, tuple[int, int]]  # of memory, as getrlimit(2) has them

    @classmethod
    def ours(cls) -> "Shell":
        limits = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)}
        return cls(os.getcwd(), dict(os.environ), limits)


class _Host:
    """The parent of one server. Its calls run on the main thread, one after the other."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def enter(self, shell: Shell) -> None:
        """Not in the constructor, whose arguments Ray keeps: the shell may hold secrets."""
        os.chdir(shell.folder)
        os.environ.update(shell.environment)
        for kind, limit in shell.limits.items():
            resource.setrlimit(kind, limit)

    def unsupported_reasons(self, servers: tuple[ServerSpec, ...], options: ServeOptions) -> list[str]:
        """Why this node could not run one of these servers, as sentences."""
        found = (unsupported_reason(server, options) for server in servers)
        return [sentence for sentence in found if sentence]

    def start(self, server: ServerSpec, options: ServeOptions) -> RunningServer:
        self._server = self._stack.enter_context(running(server, options))
        return replace(self._server, failure=lambda: None, begin_stop=lambda: None)  # what can travel

    def failure(self) -> str | None:
        return self._server.failure()

    def stop(self) -> None:
        self._stack.close()


_HostActor: Any = ray.remote(num_cpus=0, max_restarts=0)(_Host)


def check(benchmark: Benchmark, models_conf: Path, placement: Placement) -> None:
    """Raise ConfigError where the servers' node could not run one of them, or has no such models."""
    started = tuple(server for server in benchmark.servers if server.is_ours or server.kind == "local")
    if not started or benchmark.server_node is None:
        return  # preflight has looked: it is this node
    _check_folders(benchmark, placement.server)
    actor = _on(placement.server)
    try:
        options = _options(benchmark, models_conf, benchmark.all_models, ())
        found = ray.get(actor.unsupported_reasons.remote(started, options), timeout=_START_S)
    except (RayError, GetTimeoutError) as error:
        raise ConfigError(f"the servers' node {placement.server.host} cannot be used: {last_line(error)}") from error
    finally:
        ray.kill(actor)
    if found:
        raise ConfigError(f"on {placement.server.host}, which has server-node {benchmark.server_node}, {found[0]}")


def _check_folders(benchmark: Benchmark, server: Node) -> None:
    """Refuse models that were named by folders of this host, where the servers are on another."""
    named = [name for name in benchmark.saved_models if name in benchmark.all_models]
    if named and server.host != socket.gethostname():
        raise ConfigError(
            f"model is {benchmark.saved_models[named[0]]}, a folder on this host, but servers start on {server.host}, "
            f"which has server-node {benchmark.server_node}: add it to a models.conf that both can read (--models)"
        )


@contextmanager
def start_server(server: ServerSpec, cells: Sequence[Cell], context: RunContext) -> Iterator[RunningServer]:
    """Start a server for these cells, on the servers' node, warmed up for what they send; it stops with the block.

    An already running server is taken as it is. Raises ServerUnavailable where none is available, and ServerError where
    it does not start.
    """
    context.session.reference.settle(context.observer.step)
    context.observer.step(_step(server))
    context.session.recorders.before(server)
    with ExitStack() as stack:
        options = serve_options(server, cells, context)
        started = stack.enter_context(_running(server, options, context))
        if server.is_ours and server.kind == "triton":
            started = _with_echo(started, server, options, context, stack)
        yield started


def _with_echo(
    started: RunningServer, server: ServerSpec, options: ServeOptions, context: RunContext, stack: ExitStack
) -> RunningServer:
    """A Triton that starts one that does nothing beside it, when asked to; both end side by side."""
    begin_stops = [started.begin_stop]

    def begin_stop() -> None:
        for begin in begin_stops:
            begin()

    @cache
    def start_echo() -> RunningServer:
        echo = stack.enter_context(_running(server, replace(options, warm_up=(), does_nothing=True), context))
        begin_stops.append(echo.begin_stop)
        stack.callback(begin_stop)  # called first, and the end of each is waited for after it
        return echo

    return replace(started, start_echo=start_echo, begin_stop=begin_stop)


def _running(server: ServerSpec, options: ServeOptions, context: RunContext) -> AbstractContextManager[RunningServer]:
    """A server, as a child of this process or, on a given Ray cluster, of an actor on the servers' node."""
    if server.is_ours and context.session.placement.is_hosted:
        return _hosted(server, options, context.session.placement.server)
    return running(server, options, context.session.credentials)


def _step(server: ServerSpec) -> str:
    """What happens before the trials of a server."""
    if server.is_ours:
        return f"starting {server.label}"
    return f"preparing {server.label}" if server.is_in_process else f"connecting to {server.label} at {server.url}"


@contextmanager
def _hosted(server: ServerSpec, options: ServeOptions, node: Node) -> Iterator[RunningServer]:
    actor = _on(node)
    try:
        started = _answer(actor.start.remote(server, options), _START_S, node)
        stop = cache(actor.stop.remote)
        started = replace(started, failure=partial(_failure, actor, node), begin_stop=stop)
        try:
            yield _reachable(started, options.bind, node)
        finally:
            with suppress(RayError, GetTimeoutError):
                ray.get(stop(), timeout=_STOP_S)
    finally:
        ray.kill(actor)


def serve_options(server: ServerSpec, cells: Sequence[Cell], context: RunContext) -> ServeOptions:
    """What a server is started with for these cells."""
    models = tuple(dict.fromkeys(model for cell in cells for model in cell.models))
    options = _options(context.benchmark, context.session.models_conf, models, _warm_up(server, cells, context))
    return replace(options, keeps_gpu_inputs=any(cell.load.transport == CUDA_SHARED_MEMORY for cell in cells))


def _options(
    benchmark: Benchmark, models_conf: Path, models: tuple[str, ...], warm_up: tuple[WarmUp, ...]
) -> ServeOptions:
    return ServeOptions(
        models_conf=models_conf,
        models=models,
        warm_up=warm_up,
        bind=benchmark.server_bind,
        in_flight=max(load.in_flight for load in benchmark.loads),
    )


def _warm_up(server: ServerSpec, cells: Sequence[Cell], context: RunContext) -> tuple[WarmUp, ...]:
    """A batch of every shape that the cells send, for a server that compiles at the first."""
    if not server.is_ours:
        return ()
    asked = {(m, cell.signature, cell.load.batch_size) for cell in cells for m in cell.models if m != ECHO}
    calls = []
    for model, signature, items in sorted(asked):
        source = context.session.inputs.source_for(Endpoint(server, model, signature))
        batch = on_the_wire(source.batch(np.arange(items)), source.signature)
        calls.append(WarmUp(model, signature, batch))
    return tuple(calls)


def _on(node: Node) -> Any:
    actor = _HostActor.options(**on(node.id)).remote()
    if node.id == here():
        actor.enter.remote(Shell.ours())
    return actor


def _answer(answer: Any, timeout_s: float, node: Node) -> Any:
    try:
        return ray.get(answer, timeout=timeout_s)
    except ServerError as error:
        raise cause_of(error) from None  # without Ray's traceback around it
    except GetTimeoutError as error:
        raise ServerError(f"the server's node {node.host} did not answer within {timeout_s:.0f} s") from error
    except RayError as error:
        raise ServerError(f"the server's node {node.host} failed: {last_line(error)}") from error


def _failure(actor: Any, node: Node) -> str | None:
    try:
        found: str | None = _answer(actor.failure.remote(), _ASK_S, node)
    except ServerError as error:
        return str(error)
    return found


def _reachable(started: RunningServer, bind: str, node: Node) -> RunningServer:
    """By the node's address, where it listens on all of them and is known by that of its loopback."""
    if bind not in EVERYWHERE:
        return started
    names = endpoint(bind, 0).removesuffix("0"), endpoint(node.address, 0).removesuffix("0")
    url, http_url, metrics_url = (
        (each or "").replace(*names) for each in (started.url, started.http_url, started.metrics_url)
    )
    facts = replace(started.facts, url=url)
    return replace(started, url=url, http_url=http_url, facts=facts, metrics_url=metrics_url)
