"""A user's options for made inputs, checked against what a signature declares."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from raybench.config import ConfigError
from raybench.inputs.batch_axis import is_image
from raybench.inputs.photo_source import IMAGE_PX
from raybench.inputs.random_values import NUMPY_TYPES
from raybench.inputs.tensors import described
from raybench.models.saved_models import Signature, TensorSpec

_EXAMPLE_SIZE = 16
_LARGEST_BF16 = 3.3e38  # about; float32 goes as far
Range = tuple[float, float]


@dataclass(frozen=True)
class InputOptions:
    """Shapes of items and ranges [low, high) by input name, and strings."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    string_length: int | None = None
    string_data: str | None = None

    @property
    def are_strings_given(self) -> bool:
        return self.string_length is not None or self.string_data is not None

    def range_of(self, name: str, spec: TensorSpec) -> Range | None:
        """What a user says; raises ConfigError where the input's type does not hold it."""
        if name not in self.ranges:
            return None
        low, high = self.ranges[name]
        if spec.datatype == "BYTES":
            raise _misfit(name, spec, "range", (low, high), "it takes strings, which --string-data gives")
        if remedy := _beyond(spec.datatype, low, high, last=high if is_image(spec) else high - 1):
            raise _misfit(name, spec, "range", (low, high), remedy)
        return low, high

    def item_shape(self, name: str, spec: TensorSpec, *, has_axis: bool) -> tuple[int, ...]:
        """The shape of an item: as given, else as declared; raises ConfigError where that is free, or does not fit."""
        declared = None if spec.shape is None else spec.shape[1:] if has_axis else spec.shape
        given = self._given(name, declared, has_axis=has_axis)
        if given is None:
            if declared is None or -1 in declared:
                what = "the size of one item" if has_axis else "its whole size"
                raise ConfigError(
                    f"it takes {described(name, spec)}, whose size is free: "
                    f"give {what} with --shape {name}:{_example(declared)}"
                )
            return declared
        if declared is not None and not _fits(given, declared):
            what = "an item has" if has_axis else "it has"
            raise _misfit(name, spec, "shape", given, f"{what} the shape {list(declared)}")
        return given

    def image_size_px(self, name: str, spec: TensorSpec) -> tuple[int, int]:
        """Height and width, as given or declared; what both leave free is the usual size."""
        declared = (-1, -1, -1) if spec.shape is None else spec.shape[1:]
        given = self._given(name, declared, has_axis=True) or declared
        if not _fits(given, declared):
            raise _misfit(name, spec, "shape", given, "write height, width and channels, such as 299,299,3")
        height, width = given[:2]
        return (IMAGE_PX if height == -1 else height, IMAGE_PX if width == -1 else width)

    def _given(self, name: str, declared: tuple[int, ...] | None, *, has_axis: bool) -> tuple[int, ...] | None:
        """As in perf_analyzer, a leading 1 may be the batch axis of a request with one item."""
        given = self.shapes.get(name)
        has_one = given is not None and declared is not None and has_axis and len(given) == len(declared) + 1
        return given[1:] if given and has_one and given[0] == 1 else given


def check_names(options: InputOptions, signatures: Iterable[Signature]) -> None:
    """Raise ConfigError for an input that no signature has, and for strings where no input takes them."""
    specs = {name: spec for signature in signatures for name, spec in signature.inputs.items()}
    for setting, given in (("shape", options.shapes), ("range", options.ranges)):
        for name, numbers in given.items():
            if name not in specs:
                said = f"{setting} is {name}:{_text(numbers)}"
                raise ConfigError(f"{said}; no input is called {name}: choose from {', '.join(specs)}")
    takes_strings = any(spec.datatype == "BYTES" for spec in specs.values())
    for setting, value in (("string-length", options.string_length), ("string-data", options.string_data)):
        if value is not None and not takes_strings:
            raise ConfigError(f"{setting} is {value}; no input takes strings: leave it out")


def _beyond(datatype: str, low: float, high: float, *, last: float) -> str | None:
    """What to give in place of a range that a type does not hold."""
    if datatype == "BOOL":
        return (
            None if (low, high) in ((0, 1), (0, 2), (1, 2)) else "give 0,2, or 0,1 for false only, or 1,2 for true only"
        )
    if "INT" in datatype:
        kind = np.iinfo(np.dtype(NUMPY_TYPES[datatype]).char)
        if int(low) != low or int(high) != high:
            return "give whole numbers"
        return None if kind.min <= low and last <= kind.max else f"it holds {kind.min} to {kind.max}"
    most = _LARGEST_BF16 if datatype == "BF16" else float(np.finfo(np.dtype(NUMPY_TYPES[datatype]).char).max)
    return None if -most <= low and high <= most else f"it holds {-most:g} to {most:g}"


def _fits(given: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(given) == len(declared) and all(a in (-1, b) for a, b in zip(declared, given, strict=True))


def _example(declared: tuple[int, ...] | None) -> str:
    sizes = (4, -1) if declared is None else declared
    return ",".join(str(_EXAMPLE_SIZE if size == -1 else size) for size in sizes)


def _misfit(name: str, spec: TensorSpec, flag: str, given: Iterable[float], remedy: str) -> ConfigError:
    return ConfigError(f"it takes {described(name, spec)}, and --{flag} says {_text(given)}: {remedy}")


def _text(numbers: Iterable[float]) -> str:
    return ",".join(f"{number:.12g}" for number in numbers)
