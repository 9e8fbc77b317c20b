"""Inputs made from what a signature declares: images where it takes some, and seeded random values for the rest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from raybench.config import ConfigError
from raybench.inputs.batch_axis import has_item_axis, is_image, required
from raybench.inputs.photo_source import IMAGE_PX, PIXEL_RANGE, PhotoSource
from raybench.inputs.random_values import NUMPY_TYPES, RandomValues
from raybench.inputs.source import TensorSource
from raybench.inputs.tensors import Batch, described
from raybench.models.saved_models import Signature, TensorSpec

_IMAGE_FILE = re.compile(r"image|img|jpe?g|png|photo|picture", re.IGNORECASE)  # in the name of an input of BYTES
_TEXT_LENGTH = 16


@dataclass(frozen=True)
class InputOptions:
    """What a user says of inputs that are made: shapes of items and ranges [low, high) by input name, and texts."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    string_length: int | None = None
    string_data: str | None = None


@dataclass(frozen=True)
class DeclaredInputs:
    """Makes whatever a signature declares; `photos` fill inputs that take images."""

    photos: PhotoSource
    options: InputOptions = field(default_factory=InputOptions)

    @property
    def name(self) -> str:
        return self.photos.name

    @property
    def files(self) -> tuple[str, ...]:
        return self.photos.files

    def only(self, files: tuple[str, ...]) -> "DeclaredInputs":
        """The source without the files that cannot be read."""
        return replace(self, photos=self.photos.only(files))

    def bind(self, signature: Signature, seed: int) -> "BoundInputs":
        """A part for each input that has to be sent; raises ConfigError for one that cannot be made, with the flag."""
        has_axis = has_item_axis(signature)
        parts = tuple(
            (name, self._part(name, spec, seed, has_axis=has_axis)) for name, spec in required(signature).items()
        )
        if not parts:
            raise ConfigError("it takes no input, and there is nothing to send")
        return BoundInputs(self.photos.name if any(part.is_image for _, part in parts) else "random", parts, signature)

    def _part(self, name: str, spec: TensorSpec, seed: int, *, has_axis: bool) -> TensorSource:
        if has_axis and is_image(spec):
            return self.photos.pixels(spec, self._size_px(name, spec), self.options.ranges.get(name, PIXEL_RANGE), seed)
        shape = self._item_shape(name, spec, has_axis=has_axis)
        if spec.datatype == "BYTES" and shape == () and self._is_image_file(name):
            return self.photos.jpegs(seed)
        if spec.datatype not in NUMPY_TYPES:
            raise ConfigError(f"it takes {described(name, spec)}, a type that raybench cannot send")
        low, high = self.options.ranges.get(name, (None, None))
        return RandomValues(
            name,
            spec.datatype,
            shape,
            seed,
            low,
            high,
            self.options.string_length or _TEXT_LENGTH,
            self.options.string_data,
        )

    def _is_image_file(self, name: str) -> bool:
        is_text = self.options.string_length or self.options.string_data is not None
        return not is_text and _IMAGE_FILE.search(name) is not None

    def _size_px(self, name: str, spec: TensorSpec) -> tuple[int, int]:
        """Height and width, as given by --shape or declared; what both leave free is the usual size."""
        given = self.options.shapes.get(name)
        if given and len(given) != 3:
            raise _shape_error(name, spec, given, "write height, width and channels, such as 299,299,3")
        height, width = (given or (spec.shape or (-1, -1, -1, -1))[1:])[:2]
        return (IMAGE_PX if height == -1 else height, IMAGE_PX if width == -1 else width)

    def _item_shape(self, name: str, spec: TensorSpec, *, has_axis: bool) -> tuple[int, ...]:
        """The shape of an item: as given by --shape, else as declared, where that leaves nothing free."""
        declared = None if spec.shape is None else spec.shape[1:] if has_axis else spec.shape
        given = self.options.shapes.get(name)
        if given is None:
            if declared is None or -1 in declared:
                example = "4,16" if declared is None else ",".join(str(16 if n == -1 else n) for n in declared)
                raise ConfigError(
                    f"it takes {described(name, spec)}, whose size is free: say it by --shape {name}:{example}"
                )
            return declared
        if declared is not None and (
            len(given) != len(declared) or any(a not in (-1, b) for a, b in zip(declared, given, strict=True))
        ):
            raise _shape_error(name, spec, given, f"an item has the shape {list(declared)}")
        return given


@dataclass(frozen=True)
class BoundInputs:
    """The inputs of one signature, each made by a part of its own. Equal ones make the same items."""

    source: str
    parts: tuple[tuple[str, TensorSource], ...]
    signature: Signature = field(compare=False)

    @property
    def encoding(self) -> str:
        if len(self.parts) == 1:
            return self.parts[0][1].encoding
        return "; ".join(f"{name}: {part.encoding}" for name, part in self.parts)

    @property
    def unit(self) -> str:
        return (
            "images" if has_item_axis(self.signature) and any(part.is_image for _, part in self.parts) else "inferences"
        )

    @property
    def item_bytes(self) -> int:
        return sum(part.item_bytes for _, part in self.parts)

    @property
    def distinct(self) -> int | None:
        counts = [part.distinct for _, part in self.parts]
        return None if None in counts else max(count for count in counts if count is not None)

    def batch(self, numbers: np.ndarray) -> Batch:
        return {name: part.values(numbers) for name, part in self.parts}


def _shape_error(name: str, spec: TensorSpec, given: tuple[int, ...], remedy: str) -> ConfigError:
    return ConfigError(f"it takes {described(name, spec)}, and --shape says {','.join(map(str, given))}: {remedy}")
