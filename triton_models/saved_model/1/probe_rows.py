"""Rows to try a signature with: several scales of numbers, texts of several lengths, files; pure numpy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from request_parsing import numpy_name
from saved_models import Signature, TensorSpec

Rows = dict[str, np.ndarray]  # by input name, a row along axis 0

_FLOATS = ("FP16", "BF16", "FP32", "FP64")
_IMAGE_SIZES = (32, 224, 96)  # what a free side of a tensor may be
_SIZES = (8, 1, 32, 128, 224)
_LARGEST = 6e4  # float16 ends at 65,504
_TEXTS = (b"a", b"the quick brown fox jumps over the lazy dog", b"", b"two words", b"7", b"3.5", b"{}")
_FILES = 2

Recipe = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Candidates:
    """Rows that TensorFlow may take or refuse one by one, and extreme ones, which only accompany them."""

    rows: Rows
    extreme: Rows | None


def candidates(
    signature: Signature, encode_jpeg: Callable[[np.ndarray], bytes], *, has_extremes: bool
) -> Iterator[Candidates]:
    """Rows for each size that free dimensions may have, first of all scales and then, for signatures that take several
    inputs, small numbers alone. Without extremes nothing is sent that could keep a loop from its end."""
    is_image = any(spec.shape is not None and len(spec.shape) == 4 for spec in signature.inputs.values())
    files = _files(encode_jpeg) if any(spec.datatype == "BYTES" for spec in signature.inputs.values()) else ()
    has_extremes = has_extremes and any(spec.datatype in _FLOATS for spec in signature.inputs.values())
    for is_tame in (False, True) if len(signature.inputs) > 1 else (False,):
        for size in _IMAGE_SIZES if is_image else _SIZES:
            recipes = {name: _recipes(spec, files, is_tame=is_tame) for name, spec in signature.inputs.items()}
            rows = _rows(signature, recipes, size)
            extreme = {name: _extreme(spec) for name, spec in signature.inputs.items()}
            yield Candidates(rows, _rows(signature, extreme, size) if has_extremes else None)


def _rows(signature: Signature, recipes: dict[str, list[Recipe]], size: int) -> Rows:
    """A row for each recipe of the input that has most; the others begin again."""
    rng = np.random.default_rng(0)
    count = max(map(len, recipes.values()))
    rows: Rows = {}
    for name, spec in signature.inputs.items():
        shape = tuple(size if side == -1 else side for side in (spec.shape or (-1,))[1:])
        mine = recipes[name]
        made = [mine[number % len(mine)](rng, shape) for number in range(count)]
        rows[name] = np.stack(made).astype(numpy_name(spec.datatype))
    return rows


def _recipes(spec: TensorSpec, files: tuple[bytes, ...], *, is_tame: bool) -> list[Recipe]:
    if spec.datatype == "BYTES":
        return [_texts(text) for text in (*files, *_TEXTS)]
    if spec.datatype == "BOOL":
        return [_integers(0, 2), _integers(0, 2), _integers(0, 1), _integers(1, 2)]
    if spec.datatype in _FLOATS:
        scales = [_uniform(1), _uniform(1), _normal(1), _uniform(0)]
        return scales if is_tame else [*scales, _uniform(255), _uniform(_LARGEST), _uniform(-_LARGEST)]
    if spec.datatype in ("UINT8", "INT8"):
        lowest, highest = (0, 256) if spec.datatype == "UINT8" else (-128, 128)
        all_values = [_integers(lowest, highest), _integers(lowest, highest), _integers(0, 1)]
        return [_integers(0, 2)] * 2 if is_tame else [*all_values, _integers(0, 128)]
    lowest = 0 if spec.datatype.startswith("UINT") else -3
    ones = [_integers(0, 2), _integers(0, 2), _integers(0, 1)]
    # Not larger: a number may say how much memory to take.
    return ones if is_tame else [*ones, _integers(0, 10), _integers(lowest, 4), _integers(0, 1000)]


def _extreme(spec: TensorSpec) -> list[Recipe]:
    """Whatever is computed with NaN is NaN, so that the faintest influence of such a row on another shows."""
    if spec.datatype in _FLOATS:
        return [_constant(np.nan), _constant(_LARGEST), _constant(-_LARGEST)]
    return _recipes(spec, (), is_tame=True)[:1]


def _files(encode_jpeg: Callable[[np.ndarray], bytes]) -> tuple[bytes, ...]:
    rng = np.random.default_rng(0)
    return tuple(encode_jpeg(rng.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(_FILES))


def _uniform(farthest: float) -> Recipe:
    return lambda rng, shape: rng.uniform(0.0, 1.0, shape) * farthest


def _normal(scale: float) -> Recipe:
    return lambda rng, shape: rng.normal(0, scale, shape)


def _integers(low: int, high: int) -> Recipe:
    return lambda rng, shape: rng.integers(low, high, shape)


def _constant(value: float) -> Recipe:
    return lambda _, shape: np.full(shape, value)


def _texts(text: bytes) -> Recipe:
    def texts(_: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        made = np.empty(shape, object)
        made.fill(text)
        return made

    return texts
