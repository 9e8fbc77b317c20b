"""Values from files as an input takes them: type, range and shape are checked, and what does not fit has a reason."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raybench.inputs.random_values import NUMPY_TYPES, to_bfloat16

_LARGEST_BFLOAT16 = 3.3895313892515355e38
_LENGTH_BYTES = 4  # of each value in raw BYTES
_BYTES = "bytes"  # beside a path, in columns of images that Hugging Face's datasets write
_IMAGE_FILES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"RIFF")  # how JPEG, PNG, BMP and WebP begin
Shape = tuple[int, ...]


class MisfitError(ValueError):
    """A value that an input does not take: a phrase with its reason."""


class ImageReader(Protocol):
    """Decodes an image file into the pixels that an input takes."""

    @property
    def encoding(self) -> str:
        """What represents an item in a request, such as uint8 NHWC."""

    def of_file(self, data: bytes) -> np.ndarray:
        """The file's pixels as an item; raises MisfitError where it cannot be read."""


@dataclass(frozen=True)
class Wanted:
    """What an item of an input has to be; -1 in the shape is free, and None is any shape.

    `images` is there where an item looks like an image.
    """

    name: str
    datatype: str
    shape: Shape | None
    is_optional: bool = False
    images: ImageReader | None = None

    @property
    def size(self) -> int | None:
        """How many values an item has; None where that is free."""
        return None if self.shape is None or -1 in self.shape else math.prod(self.shape)

    @property
    def value_bytes(self) -> int:
        """Of one number in little-endian bytes."""
        return 2 if self.datatype == "BF16" else np.dtype(NUMPY_TYPES[self.datatype]).itemsize


def item_of(value: object, wanted: Wanted) -> np.ndarray:
    """One item from a number, a text, bytes or nested lists of them; raises MisfitError."""
    if value is None:
        raise MisfitError(f"{wanted.name} is null")
    value = _without_path(value)
    if isinstance(value, bytes) and wanted.datatype != "BYTES":
        if wanted.images and is_image_file(value, wanted):
            return wanted.images.of_file(value)
        return from_raw(value, wanted, wanted.shape)
    is_text = wanted.datatype == "BYTES"
    try:
        array = np.array(value, object) if is_text else np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise MisfitError(f"{wanted.name} is ragged: its rows differ in length") from error
    one = items_of_array(array[np.newaxis], wanted)
    return one.reshape(one.shape[1:])


def is_image_file(value: object, wanted: Wanted) -> bool:
    """Whether a value is an image file, and not the pixels that an input takes."""
    value = _without_path(value)
    if wanted.images is None or not isinstance(value, bytes):
        return False
    is_raw = wanted.size is not None and len(value) == wanted.size * wanted.value_bytes
    return not is_raw and value.startswith(_IMAGE_FILES)


def _without_path(value: object) -> object:
    """The bytes of a file that stands beside its path; any other value as it is."""
    return value[_BYTES] if isinstance(value, dict) and isinstance(value.get(_BYTES), bytes) else value


def items_of_array(values: np.ndarray, wanted: Wanted) -> np.ndarray:
    """Items along axis 0, as an array of the wanted type and shape; raises MisfitError where one does not fit."""
    typed = _texts(values, wanted) if wanted.datatype == "BYTES" else _numbers(values, wanted)
    return typed.reshape(len(typed), *fitted_shape(typed.shape[1:], wanted))


def fitted_shape(shape: Shape, wanted: Wanted) -> Shape:
    """The shape in which values are sent: as they are, or a flat list laid out as declared; raises MisfitError."""
    if wanted.shape is None:
        return shape
    if len(shape) == len(wanted.shape) and all(b in (-1, a) for a, b in zip(shape, wanted.shape, strict=True)):
        return shape
    if len(shape) <= 1 and math.prod(shape) == wanted.size:
        return wanted.shape
    free = ", where --shape says what is free" if len(shape) == 1 and wanted.size is None else ""
    raise MisfitError(f"{wanted.name} has shape {list(shape)}, but an item has {list(wanted.shape)}{free}")


def from_raw(data: bytes | memoryview, wanted: Wanted, shape: Shape | None) -> np.ndarray:
    """One item from little-endian bytes in row-major order; raises MisfitError where they are too many or too few."""
    size = None if shape is None or -1 in shape else math.prod(shape)
    if wanted.datatype == "BYTES":
        values = _raw_texts(bytes(data), wanted)
    elif len(data) % wanted.value_bytes:
        raise MisfitError(f"{wanted.name} has {len(data)} bytes, which do not make whole {wanted.datatype} values")
    else:
        values = _raw_numbers(data, wanted.datatype)
    if size is not None and len(values) != size:
        takes = f"{size * wanted.value_bytes} bytes" if wanted.datatype != "BYTES" else f"{size} texts"
        has = f"{len(data)} bytes" if wanted.datatype != "BYTES" else f"{len(values)} texts"
        raise MisfitError(f"{wanted.name} has {has}, and {list(shape or ())} {wanted.datatype} takes {takes}")
    if shape is None or -1 in shape:
        return values.reshape(fitted_shape(values.shape, wanted))
    return values.reshape(fitted_shape(shape, wanted))


def _raw_numbers(data: bytes | memoryview, datatype: str) -> np.ndarray:
    if datatype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(NUMPY_TYPES[datatype]).newbyteorder("<")).astype(
        NUMPY_TYPES[datatype], copy=False
    )


def _raw_texts(data: bytes, wanted: Wanted) -> np.ndarray:
    """Each text behind its length in four bytes."""
    found, at = list[bytes](), 0
    while at < len(data):
        length = int.from_bytes(data[at : at + _LENGTH_BYTES], "little")
        at += _LENGTH_BYTES
        if at + length > len(data):
            raise MisfitError(
                f"{wanted.name} has a text that ends beyond its bytes: write its length in 4 bytes before it"
            )
        found.append(data[at : at + length])
        at += length
    return _object_array(found)


def _object_array(values: list[bytes]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _texts(values: np.ndarray, wanted: Wanted) -> np.ndarray:
    flat = _object_array([_text(value, wanted) for value in values.ravel().tolist()])
    return flat.reshape(values.shape)


def _text(value: object, wanted: Wanted) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise MisfitError(f"{wanted.name} has half a surrogate pair, which is not text") from error
    if isinstance(value, list):
        raise MisfitError(f"{wanted.name} is ragged: its rows differ in length")
    said = "null" if value is None else repr(value)
    raise MisfitError(f"{wanted.name} has {said[:40]}, but it takes text")


def _numbers(values: np.ndarray, wanted: Wanted) -> np.ndarray:
    kind = values.dtype.kind
    if kind not in "biuf":
        if kind == "O" and values.size and all(_is_number(value) for value in values.ravel().tolist()):
            raise MisfitError(f"{wanted.name} has {values.ravel()[0]}, which {wanted.datatype} does not hold")
        raise MisfitError(f"{wanted.name} has {_kind_of(values)}, but it takes {wanted.datatype}")
    if (kind == "b") != (wanted.datatype == "BOOL") and values.size:
        raise MisfitError(f"{wanted.name} has {values.ravel()[0]}, but it takes {wanted.datatype}")
    if "INT" in wanted.datatype:
        return _integers(values, wanted)
    if wanted.datatype == "BOOL":
        return values.astype(np.bool_)
    return _floats(values, wanted)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind_of(values: np.ndarray) -> str:
    """What stands where numbers should."""
    first = next((value for value in values.ravel().tolist() if not _is_number(value)), None)
    if first is None:
        return "null"
    return repr(first)[:40] if isinstance(first, str | bytes) else f"a {type(first).__name__}"


def _integers(values: np.ndarray, wanted: Wanted) -> np.ndarray:
    kind: Any = NUMPY_TYPES[wanted.datatype]
    if values.dtype == kind:
        return values
    limits = np.iinfo(kind)
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.trunc(np.nan_to_num(values)))
        if not whole.all():
            wrong = values[~whole].ravel()[0]
            raise MisfitError(f"{wanted.name} has {_shown(wrong)}, but {wanted.datatype} takes whole numbers")
        is_inside = (values >= float(limits.min)) & (values < float(limits.max) + 1)
    else:
        is_inside = (values >= limits.min) & (values <= limits.max)
    if not np.all(is_inside):
        wrong = values[~is_inside].ravel()[0]
        raise MisfitError(f"{wanted.name} has {_shown(wrong)}, which {wanted.datatype} does not hold")
    return values.astype(kind)


def _floats(values: np.ndarray, wanted: Wanted) -> np.ndarray:
    if wanted.datatype != "BF16" and values.dtype == NUMPY_TYPES[wanted.datatype]:
        return values
    if wanted.datatype == "BF16":
        limit, made = _LARGEST_BFLOAT16, to_bfloat16(np.clip(values, -_LARGEST_BFLOAT16, _LARGEST_BFLOAT16))
        made = np.where(np.isfinite(values), made, values).astype(np.float32)
    else:
        kind: Any = NUMPY_TYPES[wanted.datatype]
        limit = float(np.finfo(kind).max)
        with np.errstate(over="ignore"):
            made = values.astype(kind)
    if (too_large := np.isfinite(values) & (np.abs(values) > limit)).any():
        raise MisfitError(f"{wanted.name} has {_shown(values[too_large].ravel()[0])}, beyond {wanted.datatype}")
    return made


def _shown(number: Any) -> str:
    return str(number.item())
