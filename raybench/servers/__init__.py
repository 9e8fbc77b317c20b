"""Real servers: find, start, wait until ready, describe, stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raybench.config import IMAGE_PX, Benchmark, ServerSpec
from raybench.servers.process import ServerError, ServerProcess, ServerUnavailable

__all__ = ["Running", "ServerError", "ServerUnavailable", "facts", "running"]


@dataclass(frozen=True)
class Running:
    """A server that can be loaded: where, what it is, and its process where it is ours."""

    url: str
    facts: dict[str, Any]
    process: ServerProcess | None = None

    @property
    def has_died(self) -> bool:
        """Whether it was ours and has ended by itself."""
        return self.process is not None and self.process.exit_code is not None


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


@contextmanager
def running(server: ServerSpec, benchmark: Benchmark) -> Iterator[Running]:
    """The server under test, started unless a url names it; stopped on the way out.

    Raises ServerUnavailable where it cannot be had here and ServerError where it failed to start.
    """
    if server.kind != "triton" or server.url:
        yield Running(url=server.url or "", facts=facts(server))
        return
    from raybench.servers.triton import TritonOptions, running_triton

    shape = (benchmark.batch_size, IMAGE_PX, IMAGE_PX, 3)
    options = TritonOptions(
        models_conf=benchmark.models_conf,
        models=benchmark.model,
        instances=server.instances,
        warm_up=((benchmark.signature, "images", shape),),
        bind=benchmark.server_bind,
    )
    with running_triton(options) as triton:
        known = {
            "launcher": triton.launcher,
            "version": triton.version,
            "url": triton.grpc_url,
            "config": triton.config,
        }
        yield Running(url=triton.grpc_url, facts=facts(server) | known, process=triton.process)
