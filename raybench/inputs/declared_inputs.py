"""Inputs made from what a signature declares: images where it takes some, and seeded random values for the rest."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from raybench.config import ConfigError
from raybench.inputs import enumeration, image_strings, random_texts
from raybench.inputs.batch_axis import has_item_axis, is_image, required
from raybench.inputs.image_strings import ImageStrings
from raybench.inputs.input_options import InputOptions, check_names
from raybench.inputs.photo_source import PhotoSource
from raybench.inputs.random_values import NUMPY_TYPES, TEXT_LENGTH, RandomValues
from raybench.inputs.source import TensorSource
from raybench.inputs.tensors import Batch, described
from raybench.inputs.value_choices import INTEGERS, STRINGS, TRUTHS
from raybench.models.saved_models import Accepted, Signature, TensorSpec

_IMAGE_FILE = re.compile(r"image|img|jpe?g|png|photo|picture", re.IGNORECASE)  # in the name of an input of BYTES
_OWN_FILES = ("jpeg_image", "jpeg_images")  # of the models that raybench exports: nothing has to be tried


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
        parts = self.parts(signature, seed, tuple(required(signature)))
        if not parts:
            raise ConfigError("it takes no input, so there is nothing to send")
        return BoundInputs(self.photos.name if any(part.is_image for _, part in parts) else "random", parts, signature)

    def parts(self, signature: Signature, seed: int, names: Sequence[str]) -> tuple[tuple[str, TensorSource], ...]:
        """What makes these inputs of a signature; raises ConfigError for one that cannot be made, with the flag."""
        has_axis, specs = has_item_axis(signature), signature.inputs
        return tuple((name, self._part(name, specs[name], seed, has_axis=has_axis)) for name in names)

    def check(self, signatures: Iterable[Signature]) -> None:
        """Raise ConfigError where the user names an input that none of them has."""
        check_names(self.options, signatures)

    def alternatives(self, signature: Signature) -> Mapping[str, tuple[Accepted, ...]]:
        """By input, values that a model may refuse, and those to try in their place, from the widest; one choice where
        the user made it. Inputs that take numbers of any size are not named."""
        has_axis = has_item_axis(signature)
        found = {name: self._choices(name, spec, has_axis=has_axis) for name, spec in required(signature).items()}
        return {name: choices for name, choices in found.items() if choices}

    def _choices(self, name: str, spec: TensorSpec, *, has_axis: bool) -> tuple[Accepted, ...]:
        if has_axis and is_image(spec):
            return ()
        if given := self.options.range_of(name, spec):
            return (Accepted(*given),) if "INT" in spec.datatype else ()
        if spec.datatype == "BYTES":
            if self.options.string_data is not None:
                return (Accepted(form=random_texts.TEXT),)
            if not self._is_image_file(name):
                return STRINGS
            first = Accepted(form=image_strings.JPEG)
            return () if name in _OWN_FILES else (first, *(each for each in STRINGS if each != first))
        if spec.datatype == "BOOL":
            return TRUTHS
        return INTEGERS if "INT" in spec.datatype else ()

    def _part(self, name: str, spec: TensorSpec, seed: int, *, has_axis: bool) -> TensorSource:
        if has_axis and is_image(spec):
            size_px = self.options.image_size_px(name, spec)
            return self.photos.pixels(spec, size_px, self.options.range_of(name, spec), seed)
        if spec.datatype not in NUMPY_TYPES:
            raise ConfigError(f"it takes {described(name, spec)}, a type that raybench cannot send")
        shape = self.options.item_shape(name, spec, has_axis=has_axis)
        form = self._form(name, spec)
        if form in image_strings.FORMS:
            return ImageStrings(self.photos.jpegs(seed), shape, is_base64=form == image_strings.BASE64)
        low, high = self._bounds(name, spec)
        text = self.options.string_data if spec.datatype == "BYTES" else None
        length = self.options.string_length or TEXT_LENGTH
        return RandomValues(name, spec.datatype, shape, seed, low, high, length, text, form)

    def _bounds(self, name: str, spec: TensorSpec) -> tuple[float | None, float | None]:
        if given := self.options.range_of(name, spec):
            return given
        return (spec.accepts.low, spec.accepts.high) if spec.accepts else (None, None)

    def _form(self, name: str, spec: TensorSpec) -> str:
        """Of strings: as the model was seen to accept, else by the input's name."""
        if spec.datatype != "BYTES":
            return random_texts.TEXT
        if spec.accepts and spec.accepts.form:
            return spec.accepts.form
        return image_strings.JPEG if self._is_image_file(name) else random_texts.TEXT

    def _is_image_file(self, name: str) -> bool:
        return not self.options.are_strings_given and _IMAGE_FILE.search(name) is not None


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
        found = prod(count for count in self._counts if count is not None)
        return found if None not in self._counts and found <= enumeration.LARGEST else None

    def batch(self, numbers: np.ndarray) -> Batch:
        """The items of these numbers, int64 [n]; no two are alike before all combinations have been."""
        of_parts = enumeration.combined(numbers, self._counts)
        return {name: part.values(each) for (name, part), each in zip(self.parts, of_parts, strict=True)}

    @property
    def _counts(self) -> list[int | None]:
        return [part.distinct for _, part in self.parts]
