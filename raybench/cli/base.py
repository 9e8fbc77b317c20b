"""What the commands share: wrong input is one sentence, an interrupt is 130."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console

from raybench import config
from raybench.cli.signals import INTERRUPTED
from raybench.config import Benchmark, ServerSpec

MISSED = 99  # the exit code of a threshold
_PIPE_WIDTH = 110


class WrongInput(click.ClickException):
    """What the user gave cannot be: one sentence, exit 2."""

    exit_code = 2

    def format_message(self) -> str:
        """One line whatever was given, without the control characters in it."""
        line = " ".join(self.message.split())
        return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


class Commands(click.Group):
    """Commands whose wrong usage is one sentence too, without click's lines on usage.

    An interrupt ends each with 130, wherever it comes; click's own 1 would be a failed trial.
    """

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _usage_in_a_sentence():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _usage_in_a_sentence():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@contextmanager
def _usage_in_a_sentence() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        raise WrongInput(error.format_message()) from error


class Text(click.ParamType):
    """Text that can stand in a line and in a path."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not config.is_text(value):
            self.fail(f"{value!r} holds nothing, or what cannot be printed.", param, ctx)
        return str(value)


def terminal() -> Console:
    """A terminal as wide as it is; a file or pipe wide enough for the table."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def warn_of_exposure(servers: Iterable[ServerSpec], bind: str) -> None:
    """A line on stderr for each kind of server that we start where others than this host could reach it."""
    from raybench.servers import exposure

    _warn(exposure(server, bind) for server in servers)


def warn_of_listeners(benchmark: Benchmark) -> None:
    """A line on stderr for each server by url whose headers others than it could read."""
    from raybench.servers import overheard

    _warn(overheard(server, benchmark) for server in benchmark.servers)


def _warn(sentences: Iterable[str | None]) -> None:
    for sentence in filter(None, dict.fromkeys(sentences)):
        click.echo(f"warning: {sentence}", err=True)
