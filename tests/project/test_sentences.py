"""The sentences of the program: help, doubts, errors and docstrings in plain English."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from prose import found

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("raybench", "triton_models") for path in (ROOT / folder).rglob("*.py"))


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every string literal and docstring; what an f-string fills in is an X."""
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.lineno, node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_program_speaks_plain_english(path: Path) -> None:
    """No help text, doubt, error or docstring has a phrase that needs a second reading."""
    name = path.relative_to(ROOT).as_posix()
    bad = [
        f"{name}:{line}: {phrase!r} in {text!r}"
        for line, text in texts(ast.parse(path.read_text()))
        for phrase in found(text)
    ]
    assert not bad, "\n".join(bad)
