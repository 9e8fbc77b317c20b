"""What must come back under stress: known arithmetic, refusals, and what the photo models say of each picture alone."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from real_parts import crops, jpeg

PHOTO_MODELS = ("efficientnetb0-no-opt", "mobilenet-no-opt")
_SIZES, _PICTURES_OF_A_SIZE = 24, 4
_SIDE_PX = (8, 400)
Judge = Callable[[Any], str | None]  # takes what `ask` returns and says what is wrong with it


def refused(status: str) -> Judge:
    """With this status and a sentence."""

    def judge(answer: Any) -> str | None:
        if isinstance(answer, dict):
            return f"answered with {sorted(answer)}"
        return None if answer[0] == status and answer[1] else f"refused with {answer[0]}: {answer[1][:300]}"

    return judge


def answered(**expected: np.ndarray) -> Judge:
    """With these outputs and no others."""

    def judge(answer: Any) -> str | None:
        return _other_outputs(answer, expected) or next(
            (f"{name} is {answer[name]}" for name in expected if not _alike(answer[name], expected[name])), None
        )

    return judge


class Photos:
    """Pictures of many sizes, and what each photo model makes of each when TensorFlow is given that one alone."""

    def __init__(self, models: Path) -> None:
        rng = np.random.default_rng(0)
        sizes = rng.integers(*_SIDE_PX, (_SIZES, 2)).repeat(_PICTURES_OF_A_SIZE, axis=0)
        self.pixels = [_resized(square, size) for square, size in zip(crops(len(sizes)), sizes, strict=True)]
        self.jpegs = np.array([jpeg(each) for each in self.pixels], object)
        self.of_a_size = np.arange(len(sizes)).reshape(_SIZES, _PICTURES_OF_A_SIZE)
        self._references: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        for model in PHOTO_MODELS:
            signatures = tf.saved_model.load(str(models / model / "1")).signatures
            images = (signatures["predict_images"](tf.constant(each[np.newaxis])) for each in self.pixels)
            self._references[model, "predict_images"] = _stacked(images)
            jpegs = (signatures["predict_jpeg"](tf.constant(each)) for each in self.jpegs)
            self._references[model, "predict_jpeg"] = self._references[model, "predict_jpegs"] = _stacked(jpegs)

    def inputs(self, signature: str, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """What a signature takes, for chosen pictures; those of `predict_images` are of one size."""
        if signature == "predict_images":
            return {"images": np.stack([self.pixels[i] for i in chosen])}
        return {signature.replace("predict_jpeg", "jpeg_image"): self.jpegs[chosen]}

    def judge(self, model: str, signature: str, chosen: np.ndarray, outputs: tuple[str, ...]) -> Judge:
        """Within 1e-4 of the model's own answers to these pictures, and nearer to them than to those of any other."""
        references = self._references[model, signature]

        def judge(answer: Any) -> str | None:
            return _other_outputs(answer, outputs or references) or next(
                (wrong for name in answer if (wrong := _unlike(name, answer[name], references[name], chosen))), None
            )

        return judge


def _other_outputs(answer: Any, expected: Iterable[str]) -> str | None:
    if not isinstance(answer, dict):
        return f"refused with {answer[0]}: {answer[1][:300]}"
    return None if set(answer) == set(expected) else f"answered with {sorted(answer)}"


def _alike(came: np.ndarray, expected: np.ndarray) -> bool:
    return came.shape == expected.shape and np.allclose(came, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def _unlike(name: str, came: np.ndarray, references: np.ndarray, chosen: np.ndarray) -> str | None:
    expected = references[chosen]
    if came.shape != expected.shape:
        return f"{name} has shape {came.shape}"
    if name == "classes":
        return None if (came == expected).all() else f"classes are {came}, not {expected}"
    if (off := np.abs(came - expected).max()) > 1e-4 * np.abs(references).max():
        return f"{name} are {off} off"
    distances = np.abs(came[:, np.newaxis] - references[np.newaxis]).max(axis=2)
    return None if (distances.argmin(axis=1) == chosen).all() else f"{name} are those of another picture"


def _stacked(answers: Iterable[dict[str, Any]]) -> dict[str, np.ndarray]:
    rows = [{name: tensor.numpy()[0] for name, tensor in each.items()} for each in answers]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _resized(square: np.ndarray, size_px: np.ndarray) -> np.ndarray:
    resized: np.ndarray = tf.cast(tf.image.resize(square, size_px), tf.uint8).numpy()
    return resized
