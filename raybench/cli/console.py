"""What the commands print on: a console for results, and stderr for warnings."""

import io
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import click
from rich.console import Console

from raybench.config import ServerSpec

_PIPE_WIDTH = 120  # of the logs of CI


def for_results() -> Console:
    """On stdout: a terminal as wide as it is; a file or pipe 120 columns wide, or as COLUMNS says."""
    return _console(sys.stdout)


def for_progress() -> Console:
    """On stderr, so that results can be piped; as wide as those."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    console = Console(file=file)
    if console.is_terminal or os.environ.get("COLUMNS"):
        return console
    return Console(file=file, width=_PIPE_WIDTH)


def print_in_any_encoding() -> None:
    """Show ? for a letter that the terminal's encoding has not, such as ± in ASCII, in place of a failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def keep_printing() -> None:
    """Drop from now on what cannot be printed: a closed terminal, or a reader that has left, ends no run."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def print_bind_warnings(servers: Iterable[ServerSpec], bind: str) -> None:
    """A line on stderr for each kind of server that we start where other hosts could reach it."""
    from raybench.servers import bind_warning

    for sentence in filter(None, dict.fromkeys(bind_warning(server, bind) for server in servers)):
        click.echo(f"warning: {sentence}", err=True)


class _LastingFile(io.FileIO):
    """A file whose descriptor leads nowhere once nothing can be written to it."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def _lasting(stream: TextIO) -> TextIO:
    """The stream on such a file; as it is where it is none of the process's own, as in a test."""
    if not (isinstance(stream, io.TextIOWrapper) and _has_descriptor(stream)):
        return stream
    is_buffered = isinstance(stream.buffer, io.BufferedWriter)  # not with PYTHONUNBUFFERED
    stream.flush()
    file: Any = _LastingFile(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(file) if is_buffered else file,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=not is_buffered,
    )


def _has_descriptor(stream: TextIO) -> bool:
    try:
        return stream.fileno() >= 0
    except OSError:
        return False
