"""SavedModels whose answers and inputs are of rarer types and ranks, each made in a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_ranking(folder: Path) -> None:
    """`rank`: the rows of a request are candidates that are ranked against each other."""
    import tensorflow as tf

    candidates = tf.TensorSpec([None, 2], tf.float32, name="candidates")
    save(folder, lambda candidates: {"share": tf.nn.softmax(tf.reduce_sum(candidates, -1), axis=0)}, candidates)


def write_answers(folder: Path) -> None:
    """Image models whose answers have other types and ranks: right ones, that a comparison must not call wrong."""
    import tensorflow as tf

    def mean(images: Any) -> Any:
        return tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])

    def none_of(images: Any) -> Any:
        return tf.boolean_mask(mean(images), tf.zeros([tf.shape(images)[0]], tf.bool))

    def label(images: Any) -> dict[str, Any]:
        scores = mean(images)
        return {"label": tf.strings.as_string(tf.argmax(scores, -1)), "score": tf.reduce_max(scores, -1)}

    answers: dict[str, Callable[[Any], dict[str, Any]]] = {
        "ints": lambda images: {"classes": tf.argmax(mean(images), -1)},
        "labels": label,
        "anchors": lambda images: {"scores": mean(images), "anchors": tf.zeros([20, 4])},
        "nothing": lambda images: {"boxes": none_of(images)},
        "scalar": lambda images: {"scores": mean(images), "version": tf.constant(3.0)},
        "half": lambda images: {"halves": tf.cast(mean(images), tf.bfloat16)},
    }
    images = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
    for name, answer in answers.items():
        save(folder / name / "1", answer, images, signature="predict_images")


def write_inputs(folder: Path) -> None:
    """Models whose input `images` holds floats, or JPEG files: not the uint8 pixels that its name suggests."""
    import tensorflow as tf

    def decoded(jpeg: Any) -> Any:
        return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(jpeg, channels=3), tf.float32), [0, 1])

    def decode_all(images: Any) -> dict[str, Any]:
        return {"scores": tf.map_fn(decoded, images, fn_output_signature=tf.TensorSpec([3], tf.float32))}

    floats = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
    save(folder / "floats" / "1", lambda images: {"output_0": tf.reduce_mean(images, [1, 2])}, floats)
    strings = tf.TensorSpec([None], tf.string, name="images")
    save(folder / "strings" / "1", decode_all, strings, signature="predict_images")


def save(folder: Path, function: Callable[..., Any], *specs: Any, signature: str = "serving_default") -> None:
    """A SavedModel of one function."""
    import tensorflow as tf

    module = tf.Module()
    module.call = tf.function(function, input_signature=list(specs), autograph=False)
    tf.saved_model.save(module, str(folder), signatures={signature: module.call})
