"""The scripts in tests/benchmarks/: they are no tests, and rot unseen where nothing reads them."""

import ast
import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_benchmark_takes_from_raybench_is_there(script: Path) -> None:
    """Every name that a benchmark imports from raybench, or reads from a module of it, exists."""
    tree = ast.parse(script.read_text())
    modules = dict[str, object]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "raybench":
            home = importlib.import_module(node.module or "")
            for alias in node.names:
                modules[alias.asname or alias.name] = _there(home, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            home = modules.get(node.value.id)
            if home is not None and hasattr(home, "__spec__"):
                assert hasattr(home, node.attr), f"{node.value.id}.{node.attr} is gone"


def _there(home: object, name: str) -> object:
    """A name of a module, or a module below it."""
    if not hasattr(home, name):
        return importlib.import_module(f"{home.__name__}.{name}")  # type: ignore[attr-defined]
    return getattr(home, name)
