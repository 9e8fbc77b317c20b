"""A Triton in the foreground: says where it answers, reads models.conf again at SIGHUP, ends at Ctrl-C."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from raybench.saved_models import ModelConfig
from raybench.servers import ServerError
from raybench.servers.triton import RunningTriton, TritonOptions, running_triton

Say = Callable[[str], None]
_POLL_S = 0.2


def serve(options: TritonOptions, *, say: Say, complain: Say) -> None:
    """Serve until Ctrl-C; raises ServerError where Triton does not start, or ends by itself."""
    hangups = _hangups()
    with suppress(KeyboardInterrupt), running_triton(options) as triton:
        say(f"grpc     {triton.grpc_url}\nhttp     {triton.http_url}\nmetrics  {triton.metrics_url}\nready")
        while triton.process.exit_code is None:
            if hangups:
                hangups.clear()
                _reload(triton, say, complain)
            time.sleep(_POLL_S)
        raise ServerError(f"Triton ended with {triton.process.exit_code}:\n{triton.process.tail()}")


def _reload(triton: RunningTriton, say: Say, complain: Say) -> None:
    try:
        models = triton.reload()
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
