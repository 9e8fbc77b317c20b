"""Keras applications -> SavedModels that TensorFlow Serving and Triton can serve, and their models.conf."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from raybench.models.cuda_libraries import load_cuda_libraries

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow loads
load_cuda_libraries()

import keras
import numpy as np
import tensorflow as tf

from raybench.models.model_facts import write_facts
from raybench.models.saved_models import add_model, read_models_conf
from raybench.processes import scratch_folder

SIGNATURES = ("predict_images", "predict_jpeg", "predict_jpegs")
_LOGIT_STD = 3.0
_DECODED_AT_ONCE = 32  # JPEG files of a call; TensorFlow's default is 10


Complete = Callable[[str, Path], None]  # adds to a new version of a model before any server can see it
Crops = Callable[[int], np.ndarray]  # of photos, uint8 [n, size_px, size_px, 3], by their size


def export(
    architectures: tuple[str, ...],
    out: Path,
    *,
    weights: str,
    variants: tuple[str, ...],
    seed: int,
    amp: str,
    crops: Crops,
    complete: Complete | None = None,
) -> Iterator[Path]:
    """Write a new version of `<out>/<architecture>-<variant>` for every pair and enter the model into models.conf.

    Yields the folder of each version; older versions stay, because a server may be reading them. The variants of one
    architecture share their weights; random ones are fitted to `crops` of photos. Raises ValueError for an unknown
    architecture, before anything is written, and OSError where a folder cannot be written.
    """
    found = {name: _application(name) for name in architectures}
    out.mkdir(parents=True, exist_ok=True)
    for name, (build, preprocess) in found.items():
        plain = _plain_model(build, preprocess, weights=weights, seed=seed, crops=crops)
        for variant in variants:
            model = plain if variant == "no-opt" else _mixed_precision_copy(build, plain, amp=amp)
            module = _serving_module(model, preprocess, xla=variant == "xla-amp")
            facts = {
                "architecture": name,
                "variant": variant,
                "weights": weights,
                "seed": seed,
                "precision": "float32" if variant == "no-opt" else f"mixed_{amp}",
                "xla": variant == "xla-amp",
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            }
            signatures = {s: getattr(module, s) for s in SIGNATURES}
            folder = write_version(module, signatures, out / f"{name}-{variant}", facts, complete)
            _enter(out / "models.conf", folder.parent.name)
            yield folder


def write_records(file: Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file, and its folder where there is none."""
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for each in records:
            writer.write(each)


def architectures() -> tuple[str, ...]:
    """Every name that `export` takes: the constructors of keras.applications in lower case."""
    return tuple(sorted(_applications()))


def _applications() -> dict[str, tuple[Callable[..., keras.Model], Callable[..., Any]]]:
    builders = {name: build for name, build in vars(keras.applications).items() if callable(build)}
    families = {name: build.__module__.rpartition(".")[2] for name, build in builders.items()}
    return {
        name.lower(): (build, getattr(keras.applications, families[name]).preprocess_input)
        for name, build in builders.items()
    }


def _application(name: str) -> tuple[Callable[..., keras.Model], Callable[..., Any]]:
    known = _applications()
    if name not in known:
        raise ValueError(f"architecture {name!r} is not in keras.applications; choose from {', '.join(sorted(known))}")
    return known[name]


def _plain_model(
    build: Callable[..., keras.Model], preprocess: Callable[..., Any], *, weights: str, seed: int, crops: Crops
) -> Any:
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("float32")
    model = build(weights=None if weights == "random" else weights, classifier_activation=None)
    if weights == "random":
        _make_answers_differ(model, preprocess, crops)
    return model


def _mixed_precision_copy(build: Callable[..., keras.Model], plain: Any, *, amp: str) -> Any:
    keras.config.set_dtype_policy(f"mixed_{amp}")
    model = build(weights=None, classifier_activation=None)
    keras.config.set_dtype_policy("float32")
    model.set_weights(plain.get_weights())
    return model


def _make_answers_differ(model: Any, preprocess: Callable[..., Any], crops: Crops) -> None:
    """Fit random weights to photos, so that the network tells pictures apart.

    Batch normalization takes its statistics from photos, and the head is centred and scaled until the logits have a
    standard deviation of 3 from picture to picture. Without this all answers of a random network are alike.
    """
    batch = preprocess(tf.cast(crops(_size_px(model)), tf.float32))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(batch, training=True)
    logits = model(batch, training=False).numpy()
    head = _head(model)
    scale = _LOGIT_STD / max(float(logits.std(axis=0).mean()), 1e-12)
    head.kernel.assign(head.kernel * scale)
    head.bias.assign((head.bias - logits.mean(axis=0)) * scale)


def _size_px(model: Any) -> int:
    """The side of the pictures that a model was made for; some take any, and are trained at 224."""
    return model.input_shape[1] or 224


def _head(model: Any) -> Any:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D)][-1]


def _embedding_and_logits(model: Any) -> Any:
    """The model with two outputs: what enters the classifier, and the logits."""
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
    head = _head(model)
    embedding = head.input if isinstance(head, keras.layers.Dense) else pools[-1].output
    return keras.Model(model.input, [embedding, model.output])


def _serving_module(model: Any, preprocess: Callable[..., Any], *, xla: bool) -> tf.Module:
    size_px = _size_px(model)
    both = _embedding_and_logits(model)

    @tf.function(jit_compile=xla)
    def infer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.image.resize(tf.cast(images, tf.float32), [size_px, size_px])
        embedding, logits = both(preprocess(pixels), training=False)
        scores = tf.nn.softmax(tf.cast(logits, tf.float32))
        flat = tf.reshape(embedding, [tf.shape(embedding)[0], int(np.prod(embedding.shape[1:]))])
        return {
            "scores": scores,
            "classes": tf.argmax(scores, axis=-1),
            "embeddings": tf.cast(flat, tf.float32),
        }

    def decoded(jpeg: tf.Tensor) -> tf.Tensor:
        return tf.image.resize(tf.io.decode_jpeg(jpeg, channels=3), [size_px, size_px])

    class Serving(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            # The raw variables: TF Serving cannot find those of a tracked Keras 3 model.
            self.weights = [variable.value for variable in model.variables]

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
        def predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            return infer(images)

        @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="jpeg_image")])
        def predict_jpeg(self, jpeg_image: tf.Tensor) -> dict[str, tf.Tensor]:
            return infer(decoded(jpeg_image)[tf.newaxis])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="jpeg_images")])
        def predict_jpegs(self, jpeg_images: tf.Tensor) -> dict[str, tf.Tensor]:
            spec = tf.TensorSpec([size_px, size_px, 3], tf.float32)
            with tf.device("CPU:0"):  # a GPU would get each picture alone, to resize it
                pixels = tf.map_fn(decoded, jpeg_images, fn_output_signature=spec, parallel_iterations=_DECODED_AT_ONCE)
            return infer(pixels)

    return Serving()


def next_version(base_path: Path) -> int:
    """The version number after the highest that a model's folder has taken, whether or not a model is in it."""
    taken = [int(path.name) for path in base_path.glob("*") if path.name.isascii() and path.name.isdigit()]
    return max(taken, default=0) + 1


def write_version(
    module: tf.Module,
    signatures: dict[str, Any],
    base_path: Path,
    facts: dict[str, Any],
    complete: Complete | None = None,
) -> Path:
    """Save as the version after the highest one, and return its folder.

    TensorFlow Serving loads new version numbers alone: what replaces files in place it would not notice. It is saved
    beside the final place, then renamed: a reader sees a whole version or none.
    """
    with scratch_folder(f".{base_path.name}-", base_path.parent) as scratch:
        tf.saved_model.save(module, str(scratch / "new"), signatures=signatures)
        write_facts(scratch / "new", facts)
        if complete:
            complete(base_path.name, scratch / "new")
        base_path.mkdir(exist_ok=True)
        return (scratch / "new").rename(base_path / str(next_version(base_path)))


def _enter(conf: Path, name: str) -> None:
    """Add a model of the same folder to models.conf, which is replaced whole; raises ValueError where it is broken."""
    text = conf.read_text(encoding="utf-8-sig") if conf.exists() else ""
    if text:
        read_models_conf(conf)
    scratch = conf.with_suffix(".tmp")
    scratch.write_text(add_model(text, name, base_path=name), encoding="utf-8")
    scratch.replace(conf)
