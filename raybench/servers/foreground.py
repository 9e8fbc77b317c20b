"""A server in the foreground: prints its urls, reloads models.conf on SIGHUP, stops on Ctrl-C."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

from raybench.models.saved_models import ModelConfig
from raybench.servers import ServerError
from raybench.servers.started_server import StartedServer

Say = Callable[[str], None]
Waiting = Callable[[str], AbstractContextManager[None]]
_POLL_S = 0.2


def serve(
    starting: AbstractContextManager[StartedServer], *, name: str, say: Say, complain: Say, waiting: Waiting
) -> None:
    """Serve until Ctrl-C; raises ServerError where the server does not start, or ends by itself.

    `waiting(what)` is entered while nothing else can be said.
    """
    hangups = _hangups()
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        with waiting(f"starting {name}"):
            server = stack.enter_context(starting)
        _name_unservable(server, complain)
        for name, reason in server.unmerged().items():
            say(f"{name} answers one request at a time: {reason}")
        say("\n".join([*(f"{what:<8} {url}" for what, url in server.urls.items()), "ready"]))
        while server.process.exit_code is None:
            if hangups:
                hangups.clear()
                _reload(server, say, complain, waiting)
            time.sleep(_POLL_S)
        raise ServerError(f"{name} ended with {server.process.exit_code}:\n{server.process.tail()}")


def _reload(server: StartedServer, say: Say, complain: Say, waiting: Waiting) -> None:
    try:
        with waiting("reloading; the old models answer until the new ones are ready"):
            models = server.reload()
    except ServerError as error:
        complain(f"not reloaded: {error}")
    else:
        failed = _name_unservable(server, complain)
        say(f"reloaded {', '.join(_described(model) for model in models if model.name not in failed)}")


def _name_unservable(server: StartedServer, complain: Say) -> dict[str, str]:
    unservable = server.unservable()
    for name, reason in unservable.items():
        complain(f"{name} is not served: {reason}")
    return unservable


def _described(model: ModelConfig) -> str:
    return f"{model.name} ({', '.join(map(str, model.specific))})"


def _hangups() -> list[bool]:
    """A list that grows with every SIGHUP; one that comes because our terminal closed ends us instead."""
    terminals = [descriptor for descriptor in range(3) if os.isatty(descriptor)]
    seen: list[bool] = []

    def hang_up(*_: object) -> None:
        if not all(map(os.isatty, terminals)):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the shell sends its own beside the kernel's
            raise KeyboardInterrupt
        seen.append(True)

    signal.signal(signal.SIGHUP, hang_up)
    return seen
