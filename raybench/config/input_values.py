"""What a user says of the values that raybench makes: `--shape NAME:d,d`, `--range NAME:lo,hi` and texts."""

from collections.abc import Iterable
from math import isfinite
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from raybench.config.refusal import ConfigError, require
from raybench.config.setting import AnyOf, Form

LONGEST_TEXT = 2**20  # bytes of a string that is made
_MOST_VALUES = 2**31  # of an item
_SHAPE, _RANGE = "write NAME:D,D, such as ids:16", "write NAME:LOW,HIGH, such as ids:0,1000"


T = TypeVar("T", int, float)


def _check_shapes(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    for name, sizes in shapes.items():
        shown, values = _shown(name, sizes), 1
        for size in sizes:
            require(size >= 1, "shape", shown, "give sizes of 1 or more")
            values *= size
        require(values <= _MOST_VALUES, "shape", shown, f"give at most {_MOST_VALUES} values per item")
    return shapes


def _check_ranges(ranges: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    for name, ends in ranges.items():
        shown = _shown(name, ends)
        require(len(ends) == 2 and all(map(isfinite, ends)), "range", shown, "give two numbers, low and high")
        require(ends[0] < ends[1], "range", shown, "give a high end above the low one")
    return ranges


Shapes = Annotated[
    dict[str, AnyOf[int]],
    AfterValidator(_check_shapes),
    Form("write 'shape: {NAME: [16]}', with the sizes of one item"),
]
Ranges = Annotated[dict[str, AnyOf[float]], AfterValidator(_check_ranges), Form("write 'range: {NAME: [0, 1000]}'")]
TextLength = Annotated[int, Field(ge=1, le=LONGEST_TEXT)]


def shapes(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Sizes by input name, of flags such as `ids:4,16`; a scalar is `ids:`. Raises ConfigError."""
    return {name: _numbers("shape", name, text, int, _SHAPE) for name, text in _pairs("shape", texts, _SHAPE).items()}


def ranges(texts: Iterable[str]) -> dict[str, tuple[float, ...]]:
    """Low and high by input name, of flags such as `ids:0,1000`; raises ConfigError."""
    return {name: _numbers("range", name, text, float, _RANGE) for name, text in _pairs("range", texts, _RANGE).items()}


def _pairs(setting: str, texts: Iterable[str], remedy: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.rpartition(":")  # a tensor of TensorFlow's graphs may be called x:0
        require(bool(colon and name), setting, text, remedy)
        require(name not in found, setting, text, "give each input once")
        found[name] = value
    return found


def _numbers(setting: str, name: str, text: str, kind: type[T], remedy: str) -> tuple[T, ...]:
    try:
        return tuple(kind(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise ConfigError(f"{setting} is {name}:{text}; {remedy}") from error


def _shown(name: str, numbers: Iterable[float]) -> str:
    return f"{name}:{','.join(f'{number:g}' for number in numbers)}"
