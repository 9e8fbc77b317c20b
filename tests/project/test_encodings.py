"""Files and programs are read in UTF-8, whatever the user's locale is."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("raybench", "triton_models", "docs", "docker")
POSITION = {"read_text": 0, "write_text": 1, "open": 3}  # of the encoding among the arguments
PROGRAMS = {"run", "Popen", "check_output"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def is_left_to_the_locale(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding that the locale has."""
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
    given = {word.arg: getattr(word.value, "value", word.value) for word in call.keywords}
    if "encoding" in given:
        return False
    if name in PROGRAMS:
        return any(given.get(word) for word in ("text", "universal_newlines", "errors"))
    if name == "open":  # a path's has no name of a file before the mode
        modes = [str(getattr(each, "value", "")) for each in call.args[:2]] + [str(given.get("mode", ""))]
        is_text = isinstance(call.func, ast.Name) and not any("b" in mode for mode in modes[1:])
        return is_text or (bool(modes) and modes[0] in ("r", "w", "a", "x", "rt", "wt"))
    return name in POSITION and len(call.args) <= POSITION[name]


def test_no_text_depends_on_the_locale() -> None:
    """Under a locale such as C or ISO-8859-1 what is read and written stays UTF-8: each call says so."""
    found = [
        f"{path}:{node.lineno}"
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and is_left_to_the_locale(node)
    ]
    assert found == []
