"""A line on stderr for whatever takes longer than two seconds outside of a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from raybench.cli.progress.progress_text import clock
from raybench.telemetry.periodic import periodic

_LOOK_S = 2.0
_AGAIN_S = 10.0


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what goes on after 2 s, and for how long every 10 s, until the block ends."""
    started_s, said_s = time.monotonic(), [float("-inf")]

    def say() -> None:
        now_s = time.monotonic()
        if now_s - said_s[0] >= _AGAIN_S - _LOOK_S / 2:
            said_s[0] = now_s
            click.echo(f"{what}, for {clock(now_s - started_s)}", err=True)

    with periodic(_LOOK_S, say):
        yield
