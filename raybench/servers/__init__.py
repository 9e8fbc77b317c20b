"""Real servers: find, start, wait until ready, describe, stop."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from raybench.config import ECHO, IMAGE_PX, Benchmark, ServerSpec
from raybench.servers import wheel
from raybench.servers.process import ServerError, ServerProcess, ServerUnavailable

__all__ = ["Running", "ServerError", "ServerUnavailable", "facts", "running", "unfit"]


@dataclass(frozen=True)
class Running:
    """A server that can be loaded: where, what it is, and, where it is ours, its process, parts and whether it answers.

    `parts` are the pids and names of its processes when it was ready.
    """

    url: str
    facts: dict[str, Any]
    process: ServerProcess | None = None
    parts: Mapping[int, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] = lambda: True

    def failure(self) -> str | None:
        """Why a server of ours can no longer be loaded, with its last lines; None where it can."""
        if self.process is None:
            return None
        if self.process.exit_code is not None:
            return f"the server ended with exit code {self.process.exit_code}; {self.process.tail()}"
        there = self.process.processes()
        if gone := [f"{name} (pid {pid})" for pid, name in self.parts.items() if pid not in there]:
            return f"a part of the server ended: {', '.join(gone)}; {self.process.tail()}"
        return None if self.is_ready() else f"the server runs and no longer answers; {self.process.tail()}"


def facts(server: ServerSpec) -> dict[str, Any]:
    """What is known of a server before it runs; None is not known yet, or not ours to know."""
    is_ours = server.kind == "triton" and not server.url
    return {
        "kind": server.kind,
        "launcher": "url" if server.url and server.kind != "fake" else None,
        "version": None,
        "instances": server.instances if is_ours else None,
        "url": server.url,
        "config": None,
    }


def unfit(server: ServerSpec) -> str | None:
    """Why this machine would make a server that we start fail or lie, with the remedy; None where it can run.

    A server that is merely not installed is skipped with its reason instead: the others can still be measured.
    """
    is_ours = server.kind == "triton" and not server.url
    obstacle = wheel.unfit() if is_ours and wheel.installed() else None
    return str(obstacle) if obstacle else None


@contextmanager
def running(server: ServerSpec, benchmark: Benchmark) -> Iterator[Running]:
    """The server under test, started unless a url names it; stopped on the way out.

    Raises ServerUnavailable where it cannot be had here and ServerError where it failed to start.
    """
    if server.kind != "triton" or server.url:
        yield Running(url=server.url or "", facts=facts(server))
        return
    from raybench.servers.triton import TritonOptions, running_triton

    shapes = {(load.signature, "images", (load.batch_size, IMAGE_PX, IMAGE_PX, 3)) for load in benchmark.variants}
    options = TritonOptions(
        models_conf=benchmark.models_conf,
        models=tuple(model for model in benchmark.all_models if model != ECHO),
        instances=server.instances,
        warm_up=tuple(sorted(shapes)),
        bind=benchmark.server_bind,
    )
    with running_triton(options) as triton:
        known = {
            "launcher": triton.launcher,
            "version": triton.version,
            "url": triton.grpc_url,
            "config": triton.config,
        }
        yield Running(
            url=triton.grpc_url,
            facts=facts(server) | known,
            process=triton.process,
            parts=triton.process.processes(),
            is_ready=triton.is_ready,
        )
