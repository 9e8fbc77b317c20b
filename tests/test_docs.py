"""README and help say what the commands do."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from raybench.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands(main))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...]) -> None:
    """Every command's help shows how it is typed."""
    assert f"raybench {' '.join(path)}" in (ALL[path].help or "")


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_readme_names_every_command(path: tuple[str, ...]) -> None:
    """The README shows every command."""
    assert f"raybench {' '.join(path)}" in README


def test_readme_commands_exist() -> None:
    """Every command and flag that the README's examples use is one that raybench has."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.S)).replace("\\\n", " ")
    lines = [line.partition("#")[0].split() for line in blocks.splitlines() if line.startswith("raybench ")]
    assert lines
    for words in lines:
        path = tuple(words[1:3]) if tuple(words[1:3]) in ALL else (words[1],)
        known = {flag for option in ALL[path].params for flag in (*option.opts, *option.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, words


def test_flags_have_the_words_of_the_yaml() -> None:
    """Every flag of `raybench run` is a key of the YAML by the same word, and every key a flag."""
    from dataclasses import fields

    from raybench.config import Benchmark

    flags = {option.name for option in ALL[("run",)].params if isinstance(option, click.Option)}
    assert flags - {"dry_run", "resume"} == {field.name for field in fields(Benchmark)} - {"loads"}
