"""Wrong usage is one sentence and exit code 2, an interrupt is 130, in every command."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import click

from raybench import config
from raybench.cli.exit_codes import INTERRUPTED, WRONG_USAGE


class WrongInput(click.ClickException):
    """What the user gave cannot be: one sentence, exit 2."""

    exit_code = WRONG_USAGE

    def format_message(self) -> str:
        """One line whatever was given, without the control characters in it."""
        line = " ".join(self.message.split())
        return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


class Commands(click.Group):
    """Commands that report wrong usage in one sentence too, without click's lines on usage.

    An interrupt ends each with 130, wherever it comes; click's own 1 would be a failed trial. An unknown command
    suggests the nearest, as click itself does for flags.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.commands, n=1)
            what = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(self.commands)}"
            raise click.UsageError(f"unknown command {args[0]}; {what}")
        return super().resolve_command(ctx, args)

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
            self.fail(f"{value!r} is empty or not printable: give printable text.", param, ctx)
        return str(value)
