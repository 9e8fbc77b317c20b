"""A server in the foreground: says where it answers, reads models.conf again at SIGHUP, ends at Ctrl-C."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Protocol

from raybench.models.saved_models import ModelConfig
from raybench.servers import ServerError
from raybench.servers.server_process import ServerProcess

Say = Callable[[str], None]
_POLL_S = 0.2


class Served(Protocol):
    """A server of ours: its process, where it answers, and how it reads its models again."""

    @property
    def process(self) -> ServerProcess: ...

    @property
    def urls(self) -> dict[str, str]: ...

    def reload(self) -> tuple[ModelConfig, ...]:
        """The models that it serves from now on; raises ServerError where the old ones stay."""


def serve(starting: AbstractContextManager[Served], *, name: str, say: Say, complain: Say) -> None:
    """Serve until Ctrl-C; raises ServerError where the server does not start, or ends by itself."""
    hangups = _hangups()
    with suppress(KeyboardInterrupt), starting as server:
        say("\n".join([*(f"{what:<8} {url}" for what, url in server.urls.items()), "ready"]))
        while server.process.exit_code is None:
            if hangups:
                hangups.clear()
                _reload(server, say, complain)
            time.sleep(_POLL_S)
        raise ServerError(f"{name} ended with {server.process.exit_code}:\n{server.process.tail()}")


def _reload(server: Served, say: Say, complain: Say) -> None:
    try:
        models = server.reload()
    except ServerError as error:
        complain(f"not reloaded: {error}; the old models go on serving")
    else:
        say(f"reloaded {', '.join(map(_described, models))}")


def _described(model: ModelConfig) -> str:
    return f"{model.name} ({', '.join(map(str, model.specific))})"


def _hangups() -> list[bool]:
    """A list that grows at every SIGHUP. Where the terminal that we were started from has closed, we end instead."""
    terminals = [descriptor for descriptor in range(3) if os.isatty(descriptor)]
    seen: list[bool] = []

    def hang_up(*_: object) -> None:
        if not all(map(os.isatty, terminals)):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the shell sends its own beside the kernel's
            raise KeyboardInterrupt
        seen.append(True)

    signal.signal(signal.SIGHUP, hang_up)
    return seen
