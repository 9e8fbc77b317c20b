"""Plain YAML: the one mapping that a file holds, with the line of each key."""

from collections import Counter
from functools import partial
from pathlib import Path

import yaml

_LARGEST_BYTES = 2**16
_LONGEST_SCALAR = 1000
_LONGEST_REASON = 300  # it quotes a tag whole


def pairs(path: Path) -> list[tuple[object, object, int]]:
    """Key, value and line of each entry of the file's mapping; raises ValueError, one sentence with file and line."""
    try:
        loader = _Loader(_text(path))
        node = loader.get_single_node()
        if isinstance(node, yaml.MappingNode):
            build = partial(loader.construct_object, deep=True)
            return [(build(key), build(value), key.start_mark.line + 1) for key, value in node.value]
    except (OSError, ValueError, ArithmeticError, RecursionError, yaml.YAMLError) as error:
        line = getattr(error, "problem_mark", None)
        where = f"{path}, line {line.line + 1}" if line else str(path)
        raise ValueError(f"{where}: cannot be read as YAML: {_why(error)}") from error
    raise ValueError(f"{path}: holds no mapping; write lines such as 'workers: 4'")


class _Loader(yaml.SafeLoader):
    """YAML without aliases, merges and tags: with them a small file can grow without end, or crash PyYAML."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        value = getattr(event, "value", "")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) or value == "<<":
            raise _refused("aliases, merges and tags are not supported; write the value out", event.start_mark)
        if len(value) > _LONGEST_SCALAR:
            raise _refused(f"a value is longer than {_LONGEST_SCALAR} characters; shorten it", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        counts = Counter(str(key.value) for key, _ in node.value)
        if twice := [key for key, count in counts.items() if count > 1]:
            raise _refused(f"key {twice[0]!r} is there twice; leave one out", node.start_mark)
        return super().construct_mapping(node, deep)


def _refused(why: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=mark)


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise OSError("it is not a file; name one that holds lines such as 'workers: 4'")
    if path.stat().st_size > _LARGEST_BYTES:
        raise OSError(f"it has {path.stat().st_size} bytes; a benchmark has at most {_LARGEST_BYTES}")
    return path.read_text(encoding="utf-8")


def _why(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return ", ".join(part for part in (error.context, error.problem) if part)[:_LONGEST_REASON]
    if isinstance(error, RecursionError):
        return "it is nested too deeply; write it flat"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text; save it as UTF-8"
    return " ".join(str(getattr(error, "strerror", None) or error).split())  # such as a date of February 30
