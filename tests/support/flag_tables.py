"""The tables of flags in docs/configuration.md, from the declarations that the commands themselves are made from.

python tests/support/flag_tables.py writes them; `make docs` does so before it builds the site.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import click

from raybench.cli import main
from raybench.cli.sections import SECTIONS

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
_MARKED = re.compile(r"(<!-- flags of (\w+(?: \w+)?): written by `make docs` -->\n).*?(<!-- end -->)", re.S)
_NOT_LISTED = {"help"}


def written(text: str) -> str:
    """The page with each marked table as the command's declaration has it today."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{_tables(found[2])}\n{found[3]}", text)


def _tables(name: str) -> str:
    command = _command(name)
    if name == "run":
        return _sections(command)
    own = _own(command) if name in ("search", "tune") else _options(command)
    return _table(command, own)


def _command(name: str) -> click.Command:
    found: click.Command = main
    for word in name.split():
        assert isinstance(found, click.Group)
        found = found.commands[word]
    return found


def _options(command: click.Command) -> list[click.Option]:
    listed = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    return [each for each in listed if each.name not in _NOT_LISTED]


def _own(command: click.Command) -> list[click.Option]:
    """The flags of a search or a tuning that a run does not have."""
    of_run = {each.name for each in _options(_command("run"))}
    return [each for each in _options(command) if each.name not in of_run or each.name == "request_rate"]


def _sections(command: click.Command) -> str:
    by_name = {str(each.name): each for each in _options(command)}
    grouped = {title: [by_name.pop(name) for name in names if name in by_name] for title, names in SECTIONS.items()}
    assert not by_name, f"in no section of the help: {', '.join(by_name)}"
    return "\n".join(f"### {title}\n\n{_table(command, flags)}" for title, flags in grouped.items() if flags)


def _table(command: click.Command, flags: Iterable[click.Option]) -> str:
    rows = "".join(_row(command, flag) for flag in flags)
    return f"| flag | meaning | default |\n|---|---|---|\n{rows}"


def _row(command: click.Command, flag: click.Option) -> str:
    names, text = flag.get_help_record(click.Context(command)) or ("", "")
    meaning, _, shown = text.partition("  [")
    default = shown.replace("]  [", "; ").removesuffix("]").removeprefix("default: ")
    cells = (f"`{names}`", _plain(meaning), _plain(default))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _plain(text: str) -> str:
    """Text of a help as Markdown: signs of Markdown stand for themselves."""
    return re.sub(r"([*_])", r"\\\1", re.sub(r"\s+", " ", text)).replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
