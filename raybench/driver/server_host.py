"""A server of ours on a Ray of others: an actor on its node is its parent, so that it ends when we do, however we end.

Ray ends the actors of a driver that has ended, and the supervisor ends the server of a parent that has. Whoever stops a
job of Ray's kills every process below it after a moment, supervisors too, which then cannot clean up: an actor is not
below it.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from raybench.clients.grpc.connection_credentials import Access
from raybench.config import Benchmark, ConfigError, ServerSpec
from raybench.driver.cluster_nodes import Node, here, on
from raybench.driver.placement import Placement
from raybench.servers import Running, ServerError, running, unsupported_reason
from raybench.servers.server_process import EVERYWHERE, endpoint

_START_S = 1000.0  # Triton has 900 s to start; TF Serving 300 s, and as long to warm up
_ASK_S = 30.0
_STOP_S = 60.0


@dataclass(frozen=True)
class Shell:
    """What a command has of its surroundings: on the node where we were called, servers are to have it too."""

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
        """Not with the constructor, whose arguments Ray keeps: there may be secrets in it."""
        os.chdir(shell.folder)
        os.environ.update(shell.environment)
        for kind, limit in shell.limits.items():
            resource.setrlimit(kind, limit)

    def unsupported_reasons(self, servers: tuple[ServerSpec, ...], benchmark: Benchmark) -> list[str]:
        """Why this node could not run one of these servers, as sentences."""
        found = (unsupported_reason(server, benchmark) for server in servers)
        return [sentence for sentence in found if sentence]

    def start(self, server: ServerSpec, benchmark: Benchmark) -> Running:
        self._server = self._stack.enter_context(running(server, benchmark))
        return replace(self._server, failure=lambda: None)  # what can travel

    def failure(self) -> str | None:
        return self._server.failure()

    def stop(self) -> None:
        self._stack.close()


_HostActor: Any = ray.remote(num_cpus=0, max_restarts=0)(_Host)


def check(benchmark: Benchmark, placement: Placement) -> None:
    """Raise ConfigError where the servers' node could not run one of them, or has no such models."""
    ours = tuple(server for server in benchmark.servers if server.is_ours or server.kind == "local")
    if not ours or benchmark.server_node is None:
        return  # preflight has looked: it is this node
    actor = _on(placement.server)
    try:
        found = ray.get(actor.unsupported_reasons.remote(ours, _absolute(benchmark)), timeout=_START_S)
    except (RayError, GetTimeoutError) as error:
        raise ConfigError(f"the servers' node {placement.server.host} cannot be used: {_last_line(error)}") from error
    finally:
        ray.kill(actor)
    if found:
        raise ConfigError(f"on {placement.server.host}, which has server-node {benchmark.server_node}, {found[0]}")


@contextmanager
def serving(server: ServerSpec, benchmark: Benchmark, access: Access, placement: Placement) -> Iterator[Running]:
    """The server under test, as `servers.running` has it, on the servers' node; raises what that does."""
    if not (server.is_ours and placement.is_hosted):
        with running(server, benchmark, access) as ours:
            yield ours
        return
    actor = _on(placement.server)
    try:
        started = _answer(actor.start.remote(server, _absolute(benchmark)), _START_S, placement.server)
        try:
            told = replace(started, failure=partial(_failure, actor, placement.server))
            yield _reachable(told, benchmark.server_bind, placement.server)
        finally:
            with suppress(RayError, GetTimeoutError):
                ray.get(actor.stop.remote(), timeout=_STOP_S)
    finally:
        ray.kill(actor)


def _on(node: Node) -> Any:
    actor = _HostActor.options(**on(node.id)).remote()
    if node.id == here():
        actor.enter.remote(Shell.ours())
    return actor


def _absolute(benchmark: Benchmark) -> Benchmark:
    """For who has another working directory."""
    return replace(benchmark, models=str(Path(benchmark.models).resolve()))


def _answer(answer: Any, timeout_s: float, node: Node) -> Any:
    try:
        return ray.get(answer, timeout=timeout_s)
    except ServerError as error:
        raise getattr(error, "cause", error) from None  # without Ray's traceback around it
    except GetTimeoutError as error:
        raise ServerError(f"the server's node {node.host} did not answer within {timeout_s:.0f} s") from error
    except RayError as error:
        raise ServerError(f"the server's node {node.host} failed: {_last_line(error)}") from error


def _failure(actor: Any, node: Node) -> str | None:
    try:
        found: str | None = _answer(actor.failure.remote(), _ASK_S, node)
    except ServerError as error:
        return str(error)
    return found


def _reachable(started: Running, bind: str, node: Node) -> Running:
    """By the node's address, where it listens on all of them and is known by that of its loopback."""
    if bind not in EVERYWHERE:
        return started
    names = endpoint(bind, 0).removesuffix("0"), endpoint(node.address, 0).removesuffix("0")
    facts = {**started.facts, "url": started.url.replace(*names)}
    return replace(started, url=facts["url"], facts=facts, metrics_url=(started.metrics_url or "").replace(*names))


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
