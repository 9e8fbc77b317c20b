"""Fourteen tiny SavedModels of every kind that users have, each with arithmetic of its own.

    python tests/corpus/make_corpus.py FOLDER

writes one folder for each below FOLDER, and their models.conf. A process of its own: it holds TensorFlow and Keras.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras
import numpy as np
import tensorflow as tf

CITIES = ("berlin", "lagos", "lima", "oslo")
VOCABULARY = 50
Outputs = dict[str, tf.Tensor]


def make_corpus(folder: Path) -> None:
    """Write every model and models.conf."""
    keras.utils.set_random_seed(1)
    entries = []
    for name, write in MODELS.items():
        write(str(folder / name / "1"))
        entries.append(f'config {{ name: "{name}" base_path: "{name}" model_platform: "tensorflow" }}')
    (folder / "models.conf").write_text("model_config_list {\n  " + "\n  ".join(entries) + "\n}\n", encoding="utf-8")


def _save(path: str, signatures: dict[str, Any], **tracked: Any) -> None:
    """A tf.Module with these functions as signatures."""
    module = tf.Module()
    for name, value in {**tracked, **signatures}.items():
        setattr(module, name, value)
    tf.saved_model.save(module, path, signatures=signatures)


def _function(*specs: tuple[str, Any, list[int | None] | None]) -> Callable[..., Any]:
    """A decorator: a function of inputs with these names, types and shapes."""
    return tf.function(
        autograph=False, input_signature=[tf.TensorSpec(shape, kind, name) for name, kind, shape in specs]
    )


def tf2_module(path: str) -> None:
    """A plain TF2 module with a variable."""
    weights = tf.Variable(np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32))

    @_function(("x", tf.float32, [None, 4]))
    def predict(x: tf.Tensor) -> Outputs:
        return {"scores": tf.nn.softmax(x @ weights), "classes": tf.argmax(x @ weights, -1)}

    _save(path, {"serving_default": predict}, weights=weights)


def _keras_model() -> Any:
    return keras.Sequential(
        [keras.Input((6,), name="features"), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2, name="score")]
    )


def keras_export(path: str) -> None:
    """Keras 3's own export."""
    _keras_model().export(path, verbose=False)


def keras_saved(path: str) -> None:
    """A Keras 3 model saved as an object: TensorFlow Serving cannot find its variables."""
    tf.saved_model.save(_keras_model(), path)


def tf1_table(path: str) -> None:
    """A graph of TF1 with an asset, from which an initializer fills a table of strings."""
    words = Path(path).parent / "cities.txt"
    words.parent.mkdir(parents=True, exist_ok=True)
    words.write_text("\n".join(CITIES) + "\n")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        file = tf.constant(str(words))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, file)
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            -1,
        )
        city = v1.placeholder(tf.string, [None])
        known = table.lookup(city)
        length = tf.strings.length(city)
        session.run(v1.tables_initializer())
        builder = v1.saved_model.Builder(path)
        info = v1.saved_model.build_tensor_info
        definition = v1.saved_model.signature_def_utils.build_signature_def(
            {"city": info(city)},
            {"number": info(known), "length": info(length), "shout": info(tf.strings.upper(city))},
            v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
        )
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={"serving_default": definition},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
        )
        builder.save()
    words.unlink()


def tabular(path: str) -> None:
    """Many inputs of many types, as models of tables have."""
    names = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float64")
    kinds = {**{name: getattr(tf, name) for name in names}, "is_new": tf.bool}
    specs = {name: tf.TensorSpec([None], kind, name) for name, kind in kinds.items()}
    specs["places"] = tf.TensorSpec([None, 2], tf.string, "places")
    specs["rates"] = tf.TensorSpec([None, 3], tf.float32, "rates")

    @tf.function(autograph=False)
    def predict(**values: tf.Tensor) -> Outputs:
        total = tf.add_n([tf.cast(values[name], tf.float64) for name in names])
        joined = tf.strings.reduce_join(values["places"], axis=1, separator="/")
        same = {f"{name}_back": values[name] for name in names}
        return {
            **same,
            "total": tf.where(values["is_new"], total, -total),
            "mean": tf.reduce_mean(values["rates"], -1),
            "joined": joined,
            "is_old": tf.logical_not(values["is_new"]),
        }

    _save(path, {"serving_default": predict.get_concrete_function(**specs)})


def embedding(path: str) -> None:
    """Indices that have to lie inside a vocabulary."""
    table = tf.Variable(np.random.default_rng(3).normal(size=(VOCABULARY, 4)).astype(np.float32))

    @_function(("ids", tf.int64, [None, 8]))
    def embed(ids: tf.Tensor) -> Outputs:
        return {"embeddings": tf.gather(table, ids)}

    _save(path, {"embed": embed}, table=table)


def text(path: str) -> None:
    """Strings that have to be numbers, and strings back."""

    @_function(("number", tf.string, [None]))
    def parse(number: tf.Tensor) -> Outputs:
        value = tf.strings.to_number(number, tf.int64)
        return {"double": tf.strings.as_string(2 * value), "value": value}

    _save(path, {"serving_default": parse})


def float16(path: str) -> None:
    """Half floats in."""

    @_function(("half", tf.float16, [None, 8]))
    def predict(half: tf.Tensor) -> Outputs:
        return {"triple": tf.cast(half, tf.float32) * 3, "same_half": half}

    _save(path, {"serving_default": predict})


def bfloat16(path: str) -> None:
    """bfloat16 in and out, which numpy does not have."""

    @_function(("brain", tf.bfloat16, [None, 8]))
    def predict(brain: tf.Tensor) -> Outputs:
        return {"double_brain": brain * tf.constant(2, tf.bfloat16)}

    _save(path, {"serving_default": predict})


def scalars(path: str) -> None:
    """No batch axis anywhere: scalars in, a scalar and a string out."""

    @_function(("price", tf.float32, []), ("times", tf.int32, []))
    def predict(price: tf.Tensor, times: tf.Tensor) -> Outputs:
        product = price * tf.cast(times, tf.float32)
        return {"product": product, "shown": tf.strings.as_string(times), "is_large": product > 10}

    _save(path, {"serving_default": predict})


def free_axes(path: str) -> None:
    """Outputs whose free axis is at another place in each."""

    @_function(("x", tf.float32, [None, 3]))
    def predict(x: tf.Tensor) -> Outputs:
        return {
            "rows": x + 1,
            "columns": tf.transpose(x) * 2,
            "sums": tf.reduce_sum(x, -1),
            "flat": tf.reshape(x, [-1]),
        }

    _save(path, {"serving_default": predict})


def fixed_batch(path: str) -> None:
    """Exactly four small images a request."""

    @_function(("images", tf.uint8, [4, 16, 16, 3]))
    def predict(images: tf.Tensor) -> Outputs:
        return {"means": tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])}

    _save(path, {"serving_default": predict})


def unknown_rank(path: str) -> None:
    """A tensor of any rank."""

    @_function(("anything", tf.float32, None))
    def predict(anything: tf.Tensor) -> Outputs:
        return {"something": anything * 2 + 1}

    _save(path, {"serving_default": predict})


def clash(path: str) -> None:
    """Two signatures that give one name to tensors of two types."""

    @_function(("pair", tf.int32, [None, 2]))
    def whole(pair: tf.Tensor) -> Outputs:
        return {"result": pair + 1}

    @_function(("pair", tf.float32, [None, 2]))
    def broken(pair: tf.Tensor) -> Outputs:
        return {"result": pair / 2}

    _save(path, {"serving_default": whole, "halves": broken})


MODELS: dict[str, Callable[[str], None]] = {
    write.__name__: write
    for write in (
        tf2_module,
        keras_export,
        keras_saved,
        tf1_table,
        tabular,
        embedding,
        text,
        float16,
        bfloat16,
        scalars,
        free_axes,
        fixed_batch,
        unknown_rank,
        clash,
    )
}

if __name__ == "__main__":
    make_corpus(Path(sys.argv[1]))
