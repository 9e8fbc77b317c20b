"""Real servers: find, start, wait until ready, describe, stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raybench.config import IMAGE_PX, Benchmark, ServerSpec
from raybench.servers.process import ServerError, ServerUnavailable

__all__ = ["Running", "ServerError", "ServerUnavailable", "running"]


@dataclass(frozen=True)
class Running:
    """A server that can be loaded: where, what it is, and its process where it is ours."""

    url: str
    facts: dict[str, Any]
    pid: int | None = None
    tail: Any = lambda: ""


@contextmanager
def running(server: ServerSpec, benchmark: Benchmark) -> Iterator[Running]:
    """The server under test, started unless a url names it; stopped on the way out.

    Raises ServerUnavailable where it cannot be had here and ServerError where it failed to start.
    """
    facts: dict[str, Any] = {
        "kind": server.kind,
        "launcher": "url" if server.url else None,
        "version": None,
        "instances": server.instances if server.kind == "triton" and not server.url else None,
        "url": server.url,
        "config": {},
    }
    if server.kind != "triton" or server.url:
        yield Running(url=server.url or "", facts=facts)
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
        yield Running(url=triton.grpc_url, facts=facts | known, pid=triton.process.pid, tail=triton.process.tail)
