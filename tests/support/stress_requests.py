"""Seeded requests of every kind, good and faulty, each with the judge of its answer.

Before the reload there are the photo models, `scale` in versions 1 and 3, `clash` and `early`, which is version 1 of
`scale`; afterwards version 1 and `early` are gone and `late`, which is version 3 of `scale`, is there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from stress_answers import PHOTO_MODELS, Judge, Photos, answered, refused

_PHOTO_SHARE, _TINY_SHARE = 0.08, 0.67  # and the rest is faulty
_SIGNATURES, _SIGNATURE_SHARES = ("predict_images", "predict_jpegs", "predict_jpeg"), (0.6, 0.3, 0.1)
_BATCHES, _BATCH_SHARES = (1, 2, 3, 4, 8), (0.4, 0.25, 0.15, 0.15, 0.05)
_LARGEST = 16
_OUTPUTS = ((), ("scores",), ("embeddings", "classes"))


@dataclass(frozen=True, eq=False)
class Request:
    """Inputs as they travel, what goes with them, and what must come back; the reload may change that."""

    wire: dict[str, np.ndarray]
    judge: Judge
    judge_after_reload: Judge | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    kind: str = ""

    def complaint(self, answer: Any, when: str) -> str | None:
        """What is wrong with an answer that came before the reload, after it, or during it, when both are right."""
        judges = {"before": self.judge, "after": self.judge_after_reload or self.judge}
        complaints = [judge(answer) for world, judge in judges.items() if when in (world, "during")]
        return complaints[0] if all(complaints) else None


def largest(photos: Photos) -> list[Request]:
    """The largest calls of all; TensorFlow keeps the memory that it needed for them."""
    of_one_size = np.resize(max(photos.of_a_size, key=lambda alike: photos.pixels[alike[0]].size), _LARGEST)
    chosen = {"predict_images": of_one_size, "predict_jpegs": np.arange(_LARGEST)}
    return [_photo(photos, model, signature, chosen[signature]) for model in PHOTO_MODELS for signature in chosen]


def request(number: int, photos: Photos) -> Request:
    """Request `number`, the same in every run."""
    rng = np.random.default_rng(number)
    share = rng.random()
    if share < _PHOTO_SHARE:
        return _some_photo(rng, photos)
    if share < _PHOTO_SHARE + _TINY_SHARE:
        kind = str(rng.choice(sorted(_TINY)))
        return replace(_TINY[kind](rng), kind=kind)
    kind = str(rng.choice(sorted((*_FAULTS, *_SPOILED))))
    if kind in _SPOILED:
        return replace(_spoiled(rng, photos, _SPOILED[kind]), kind=kind)
    return replace(_fault(**_FAULTS[kind]), kind=kind)


def _routed(model: str, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs with Triton's leading element, and the two that route."""
    names = {"model_name": np.array([model.encode()], object), "signature": np.array([signature.encode()], object)}
    return {name: array[np.newaxis] for name, array in {**names, **inputs}.items()}


def _some_photo(rng: np.random.Generator, photos: Photos) -> Request:
    model = str(rng.choice(PHOTO_MODELS, p=(0.3, 0.7)))
    signature = str(rng.choice(_SIGNATURES, p=_SIGNATURE_SHARES))
    count = 1 if signature == "predict_jpeg" else int(rng.choice(_BATCHES, p=_BATCH_SHARES))
    of_a_size = photos.of_a_size[rng.integers(len(photos.of_a_size))]
    chosen = rng.choice(of_a_size if signature == "predict_images" else photos.of_a_size.reshape(-1), count)
    return _photo(photos, model, signature, chosen, _OUTPUTS[rng.integers(len(_OUTPUTS))])


def _photo(photos: Photos, model: str, signature: str, chosen: np.ndarray, outputs: tuple[str, ...] = ()) -> Request:
    wire = _routed(model, signature, **photos.inputs(signature, chosen))
    judge = photos.judge(model, signature, chosen, outputs)
    return Request(wire, judge, outputs=outputs, kind=f"{model}/{signature}")


def _rows(rng: np.random.Generator) -> np.ndarray:
    """float32 [1 to 100, 2], now and then with what is not a number in it."""
    rows = rng.normal(size=(int(rng.integers(1, 101)), 2)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.01] = rng.choice([np.nan, np.inf, -np.inf])
    return rows


def _digits(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 9, (int(rng.integers(1, 50)), 2)).astype(np.float32)


def _times(rng: np.random.Generator) -> Request:
    x = _rows(rng)
    return Request(_routed("scale", "times", x=x), answered(y=3 * x))


def _times_by_parameters(rng: np.random.Generator) -> Request:
    x, version = _rows(rng), ("3", 3)[rng.integers(2)]
    parameters = {"model": "scale", "signature": "times", "version": version}
    return Request({"x": x[np.newaxis]}, answered(y=3 * x), parameters=parameters)


def _total(rng: np.random.Generator) -> Request:
    x = _digits(rng)
    return Request(_routed("scale", "total", x=x), answered(sum=np.array([3 * x.sum()])))


def _distinct(rng: np.random.Generator) -> Request:
    x = _digits(rng)
    return Request(_routed("scale", "distinct", x=x), answered(values=np.array(list(dict.fromkeys(x[:, 0])))))


def _boxed(rng: np.random.Generator) -> Request:
    boxes = rng.random((int(rng.integers(1, 9)), 4)).astype(np.float32)
    images = rng.integers(0, 256, (*rng.integers(1, 9, 3), 3)).astype(np.uint8)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Request(_routed("scale", "boxed", images=images, boxes=boxes), answered(areas=areas))


def _plus(rng: np.random.Generator) -> Request:
    whole = rng.integers(-9, 9, int(rng.integers(1, 300))).astype(np.int32)
    return Request(_routed("clash", "plus", whole=whole), answered(plus=whole + 1))


def _version_1(rng: np.random.Generator) -> Request:
    x = _rows(rng)
    wire = _routed("scale", "times", x=x)
    return Request(wire, answered(y=x), refused("NOT_FOUND"), parameters={"version": "1"})


def _early(rng: np.random.Generator) -> Request:
    x = _rows(rng)
    return Request(_routed("early", "times", x=x), answered(y=x), refused("NOT_FOUND"))


def _late(rng: np.random.Generator) -> Request:
    x = _rows(rng)
    return Request(_routed("late", "times", x=x), refused("NOT_FOUND"), answered(y=3 * x))


_TINY: dict[str, Callable[[np.random.Generator], Request]] = {
    "times": _times,
    "times by parameters": _times_by_parameters,
    "total": _total,
    "distinct": _distinct,
    "boxed": _boxed,
    "plus": _plus,
    "version 1": _version_1,
    "early": _early,
    "late": _late,
}


def _fault(
    status: str = "INVALID_ARGUMENT",
    model: str = "scale",
    signature: str = "times",
    without: str = "",
    at_once: int = 1,
    version: str = "",
    outputs: tuple[str, ...] = (),
    shapes: dict[str, tuple[int, ...]] | None = None,
    **inputs: np.ndarray,
) -> Request:
    """A request that must be refused; `without` is an input left out, `at_once` Triton's leading element."""
    wire = _routed(model, signature, **inputs)
    wire = {name: array.repeat(at_once, axis=0) for name, array in wire.items() if name != without}
    parameters = {"version": version} if version else {}
    return Request(wire, refused(status), parameters=parameters, outputs=outputs, shapes=shapes or {})


def _spoiled(rng: np.random.Generator, photos: Photos, culprit: bytes | None) -> Request:
    """JPEGs among which one is `culprit`, or half of itself."""
    chosen = photos.jpegs[rng.integers(len(photos.jpegs), size=int(rng.integers(1, 5)))]
    place = rng.integers(len(chosen))
    chosen[place] = chosen[place][: len(chosen[place]) // 2] if culprit is None else culprit
    return _fault(model=str(rng.choice(PHOTO_MODELS)), signature="predict_jpegs", jpeg_images=chosen)


_SPOILED = {"no jpeg": b"no jpeg", "empty jpeg": b"", "half a jpeg": None}
_X = np.ones((3, 2), np.float32)
_PICTURE = np.zeros((1, 9, 9, 3), np.uint8)
_IMAGES = {"model": PHOTO_MODELS[1], "signature": "predict_images"}
_FAULTS: dict[str, dict[str, Any]] = {
    "unknown model": {"status": "NOT_FOUND", "model": "nope", "x": _X},
    "unknown signature": {"status": "NOT_FOUND", "signature": "nope", "x": _X},
    "unknown version": {"status": "NOT_FOUND", "version": "2", "x": _X},
    "huge version": {"status": "NOT_FOUND", "version": "9" * 9999, "x": _X},
    "huge model name": {"status": "NOT_FOUND", "model": "x" * 200_000, "x": _X},
    "huge signature": {"status": "NOT_FOUND", "signature": "x" * 200_000, "x": _X},
    "model name is no text": {"status": "NOT_FOUND", "model_name": np.array([b"\xff\xfe"], object), "x": _X},
    "no model": {"without": "model_name", "x": _X},
    "no signature": {"without": "signature", "x": _X},
    "missing input": {},
    "foreign input": {"x": _X, "images": _PICTURE},
    "undeclared input": {"x": _X, "zzz": _X},
    "foreign output": {"x": _X, "outputs": ("y", "scores")},
    "undeclared output": {"x": _X, "outputs": ("zzz",)},
    "wrong type": {"x": _X.astype(np.float64)},
    "wrong rank": {"x": _X[0]},
    "wrong size": {"x": np.ones((3, 3), np.float32)},
    "four channels": {**_IMAGES, "images": np.zeros((1, 9, 9, 4), np.uint8)},
    "empty batch": {"x": _X[:0]},
    "no height": {**_IMAGES, "images": _PICTURE[:, :0]},
    "two at once": {"at_once": 2, "x": _X},
    "65 at once": {"at_once": 65, "x": _X},
    "fewer bytes": {"shapes": {"x": (1, 4, 2)}, "x": _X},
    "more bytes": {"shapes": {"x": (1, 2, 2)}, "x": _X},
    "contradiction": {"status": "NOT_FOUND", "model": "clash", "signature": "twice", "whole": np.ones(1, np.int32)},
    "two jpegs for one": {**_IMAGES, "signature": "predict_jpeg", "jpeg_image": np.array([b"", b""], object)},
}
