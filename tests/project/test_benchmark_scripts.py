"""The scripts in tests/benchmarks/: they are no tests, and rot unseen where nothing reads them."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def test_what_benchmarks_take_from_raybench_is_there() -> None:
    """Every name that a benchmark imports from raybench, or reads from a module of it, exists."""
    assert SCRIPTS
    assert [f"{script.name}: {name}" for script in SCRIPTS for name in missing(ast.parse(script.read_text()))] == []


def missing(tree: ast.Module) -> Iterator[str]:
    """The names that raybench does not have."""
    modules = dict[str, object]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "raybench":
            for alias in node.names:
                try:
                    modules[alias.asname or alias.name] = _there(importlib.import_module(node.module or ""), alias.name)
                except ImportError as error:
                    yield str(error)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            home = modules.get(node.value.id)
            if home is not None and hasattr(home, "__spec__") and not hasattr(home, node.attr):
                yield f"{node.value.id}.{node.attr}"


def _there(home: object, name: str) -> object:
    """A name of a module, or a module below it."""
    if not hasattr(home, name):
        return importlib.import_module(f"{home.__name__}.{name}")  # type: ignore[attr-defined]
    return getattr(home, name)
