"""SavedModels that are made in a second: known arithmetic, and image models with the signatures of exported ones."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from raybench.models.model_facts import write_facts
from raybench.models.saved_models import ModelConfig, format_models_conf

ARCHITECTURES = ("efficientnetb0-no-opt", "mobilenet-no-opt")  # the names that an export gives them
SLOW = "slow"  # takes about 20 ms an image
_GRID_PX, _CLASSES = 8, 1000
_LOGIT_STD = 3.0


def write_tiny_models(folder: Path) -> None:
    """`scale`, `clash`, `slow` and one tiny model for each of `ARCHITECTURES`, with their models.conf."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "models.conf").write_text(format_models_conf(tuple(_written(folder)), relative_to=folder))


def _written(folder: Path) -> Iterator[ModelConfig]:
    yield from write_arithmetic(folder)
    for seed, name in enumerate((*ARCHITECTURES, SLOW)):
        export_photo_model(folder / name / "1", seed, rounds=60 if name == SLOW else 0)
        yield ModelConfig(name=name, base_path=folder / name)


def write_arithmetic(folder: Path) -> tuple[ModelConfig, ...]:
    """`scale`, versions 1 and 3 (times 1 and times 3, both served), and `clash`, whose `x` is of another type."""
    for version in (1, 3):
        export_scale(folder / "scale" / str(version), float(version))
    _export_clash(folder / "clash" / "1")
    scale = ModelConfig(name="scale", base_path=folder / "scale", policy="all")
    return scale, ModelConfig(name="clash", base_path=folder / "clash")


def export_photo_model(folder: Path, seed: int, *, rounds: int = 0) -> None:
    """A SavedModel with the signatures and outputs of an exported architecture, whose answers tell pictures apart.

    `rounds` of multiplication an image make it slow.
    """
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    features = _GRID_PX * _GRID_PX * 3

    class Photos(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = tf.Variable(np.eye(3, dtype=np.float32)[None, None] * np.float32(1 + 0.1 * seed))
            weights = rng.normal(0, _LOGIT_STD / features**0.5, (features, _CLASSES))
            self.head = tf.Variable(weights.astype(np.float32))
            self.wheel = tf.Variable(np.eye(256, dtype=np.float32))

        def infer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels = tf.image.resize(tf.cast(images, tf.float32), [_GRID_PX, _GRID_PX])
            mixed = tf.nn.conv2d(pixels / 64 - 2, self.mix, strides=1, padding="SAME")
            embeddings = tf.reshape(mixed, [tf.shape(mixed)[0], features])
            scores = tf.nn.softmax(embeddings @ self.head)
            if rounds:
                scores += self.nothing(tf.shape(mixed)[0])
            return {"scores": scores, "classes": tf.argmax(scores, axis=-1), "embeddings": embeddings}

        def nothing(self, images: tf.Tensor) -> tf.Tensor:
            """0, after some time."""
            turned = tf.while_loop(
                lambda n, _: n < rounds * images, lambda n, x: (n + 1, x @ self.wheel), (0, tf.zeros([256, 256]))
            )
            return tf.reduce_max(turned[1])

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
        def predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.infer(images)

        @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="jpeg_image")])
        def predict_jpeg(self, jpeg_image: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.infer(_decoded(jpeg_image)[tf.newaxis])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="jpeg_images")])
        def predict_jpegs(self, jpeg_images: tf.Tensor) -> dict[str, tf.Tensor]:
            small = tf.TensorSpec([_GRID_PX, _GRID_PX, 3], tf.float32)
            return self.infer(tf.map_fn(_decoded, jpeg_images, fn_output_signature=small))

    module = Photos()
    signatures = {name: getattr(module, name) for name in ("predict_images", "predict_jpeg", "predict_jpegs")}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    write_facts(folder, {"precision": "float32", "xla": False})


def _decoded(jpeg: Any) -> Any:
    import tensorflow as tf

    return tf.image.resize(tf.io.decode_jpeg(jpeg, channels=3), [_GRID_PX, _GRID_PX])


def export_scale(folder: Path, factor: float) -> None:
    """A SavedModel with known arithmetic, written beside `folder` and then renamed to it."""
    import tensorflow as tf

    class Scale(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable(factor)

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def times(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": x * self.factor}

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"sum": tf.reduce_sum(x) * self.factor}

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def distinct(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"values": tf.unique(x[:, 0]).y}

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def share(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"share": tf.nn.softmax(tf.reduce_sum(x, -1), axis=0)}

        @tf.function(
            autograph=False,
            input_signature=[
                tf.TensorSpec([None, None, None, 3], tf.uint8, name="images"),
                tf.TensorSpec([None, 4], tf.float32, name="boxes"),
            ],
        )
        def boxed(self, images: tf.Tensor, boxes: tf.Tensor) -> dict[str, tf.Tensor]:
            mean = tf.reduce_mean(tf.cast(images, tf.float32))
            return {"areas": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) + 0.0 * mean}

    module, new = Scale(), folder.with_name(f".{folder.name}-new")
    signatures = {name: getattr(module, name) for name in ("times", "total", "distinct", "share", "boxed")}
    tf.saved_model.save(module, str(new), signatures=signatures)
    if folder.exists():
        shutil.rmtree(folder)
    new.rename(folder)


def _export_clash(folder: Path) -> None:
    import tensorflow as tf

    class Clash(tf.Module):
        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.int32, name="x")])
        def twice(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"twice": 2 * x}

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.int32, name="whole")])
        def plus(self, whole: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"plus": whole + 1}

    clash = Clash()
    tf.saved_model.save(clash, str(folder), signatures={"twice": clash.twice, "plus": clash.plus})


def export_kinds(folder: Path) -> None:
    """A SavedModel with an output of each type that TensorFlow Serving answers in a field of its own."""
    import tensorflow as tf

    kinds = (tf.bool, tf.half, tf.bfloat16, tf.uint16, tf.uint32, tf.uint64, tf.int8, tf.float64)

    class Kinds(tf.Module):
        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.int32, name="x")])
        def each(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {kind.name: tf.cast(x, kind) for kind in kinds} | {"string": tf.strings.as_string(x)}

    module = Kinds()
    tf.saved_model.save(module, str(folder), signatures={"each": module.each})


def export_echoes(folder: Path) -> None:
    """A SavedModel that answers what it is sent: `rows` of each type that JSON carries, `scalars` and `grid` without an
    item axis, `halves`, and `uneven` outputs of which one has an entry for each item."""
    import tensorflow as tf

    kinds = (
        tf.bool, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint32, tf.uint64, tf.float32, tf.float64,
        tf.string,
    )  # fmt: skip

    def spec(shape: list[int | None], dtype: tf.DType, name: str) -> tf.TensorSpec:
        return tf.TensorSpec(shape, dtype, name=name)

    class Echoes(tf.Module):
        @tf.function(autograph=False, input_signature=[spec([None, 2], kind, kind.name) for kind in kinds])
        def rows(self, *values: tf.Tensor) -> dict[str, tf.Tensor]:
            answers = {f"{value.dtype.name}_out": tf.identity(value) for value in values}
            return answers | {"raw_bytes": tf.identity(values[-1])}

        @tf.function(autograph=False, input_signature=[spec([], tf.float32, "x"), spec([], tf.string, "text")])
        def scalars(self, x: tf.Tensor, text: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"x_out": tf.identity(x), "text_out": tf.identity(text)}

        @tf.function(autograph=False, input_signature=[spec([2, 3], tf.int64, "x")])
        def grid(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"x_out": tf.identity(x)}

        @tf.function(autograph=False, input_signature=[spec([None], tf.half, "x")])
        def halves(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"x_out": tf.cast(x, tf.float32)}

        @tf.function(autograph=False, input_signature=[spec([None], tf.int32, "x")])
        def uneven(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"all": tf.identity(x), "first": x[:1]}

    module = Echoes()
    names = ("rows", "scalars", "grid", "halves", "uneven")
    tf.saved_model.save(module, str(folder), signatures={name: getattr(module, name) for name in names})


def export_xla(folder: Path) -> None:
    """A tiny SavedModel that XLA compiles: `means` of images per channel."""
    import tensorflow as tf

    class Xla(tf.Module):
        @tf.function(jit_compile=True, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
        def means(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"means": tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2])}

    module = Xla()
    tf.saved_model.save(module, str(folder), signatures={"means": module.means})
