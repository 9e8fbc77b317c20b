"""SavedModels that one Triton model cannot declare together, and whose tensors are of many kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from raybench.models.saved_models import ModelConfig, format_models_conf

FACTORS = {1: 2.0, 2: 5.0}  # of `whole`, by version


def write_per_model_models(folder: Path) -> Path:
    """models.conf of `mixed` (several inputs, strings, bfloat16, two signatures), `whole` (no batch axis, 2 versions),
    `ranked` (rows depend on each other; its `x` is of another type than that of `mixed`) and `corrupt`."""
    export_mixed(folder / "mixed" / "1")
    for version, factor in FACTORS.items():
        export_whole(folder / "whole" / str(version), factor)
    export_ranked(folder / "ranked" / "1")
    (folder / "corrupt" / "1").mkdir(parents=True)
    (folder / "corrupt" / "1" / "saved_model.pb").write_bytes(b"no message")
    names = {"mixed": "latest", "whole": "all", "ranked": "latest", "corrupt": "latest"}
    models = tuple(ModelConfig(name=name, base_path=folder / name, policy=policy) for name, policy in names.items())
    (folder / "models.conf").write_text(format_models_conf(models, relative_to=folder))
    return folder / "models.conf"


def export_mixed(folder: Path) -> None:
    import tensorflow as tf

    specs = (
        tf.TensorSpec([None, 2], tf.float32, name="x"),
        tf.TensorSpec([None], tf.float32, name="z"),
        tf.TensorSpec([None], tf.string, name="text"),
        tf.TensorSpec([None, 2], tf.bfloat16, name="b"),
    )

    def times(factor: float) -> Callable[..., Any]:
        def call(x: Any, z: Any, text: Any, b: Any) -> dict[str, Any]:
            return {
                "y": factor * x + z[:, tf.newaxis],
                "sum": tf.reduce_sum(x, -1) + z,
                "echoed": tf.strings.join([text, text]),
                "doubled": 2 * b,
            }

        return call

    _save(folder, {"serving_default": (times(2.0), specs), "thrice": (times(3.0), specs)})


def export_whole(folder: Path, factor: float) -> None:
    import tensorflow as tf

    def call(signature: Any, scale: Any) -> dict[str, Any]:
        product = tf.cast(signature, tf.float32) * scale * factor
        return {"product": product, "about": tf.reduce_sum(product), "label": tf.strings.as_string(tf.size(product))}

    specs = (tf.TensorSpec([3], tf.int32, name="signature"), tf.TensorSpec([], tf.float32, name="scale"))
    _save(folder, {"only": (call, specs)})


def export_ranked(folder: Path) -> None:
    import tensorflow as tf

    def call(x: Any) -> dict[str, Any]:
        return {"share": tf.nn.softmax(tf.cast(x, tf.float32), axis=0)}

    _save(folder, {"serving_default": (call, (tf.TensorSpec([None], tf.int32, name="x"),))})


def _save(folder: Path, functions: dict[str, tuple[Callable[..., Any], Any]]) -> None:
    import tensorflow as tf

    module = tf.Module()
    for name, (function, specs) in functions.items():
        setattr(module, name, tf.function(function, input_signature=specs, autograph=False))
    tf.saved_model.save(module, str(folder), signatures={name: getattr(module, name) for name in functions})
