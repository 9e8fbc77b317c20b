"""What the commands print on: a console for results, and stderr for warnings."""

from collections.abc import Iterable

import click
from rich.console import Console

from raybench.config import ServerSpec

_PIPE_WIDTH = 110


def terminal() -> Console:
    """A terminal as wide as it is; a file or pipe wide enough for the table."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def print_bind_warnings(servers: Iterable[ServerSpec], bind: str) -> None:
    """A line on stderr for each kind of server that we start where other hosts could reach it."""
    from raybench.servers import bind_warning

    for sentence in filter(None, dict.fromkeys(bind_warning(server, bind) for server in servers)):
        click.echo(f"warning: {sentence}", err=True)
