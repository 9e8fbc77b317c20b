"""Signatures whose rows influence each other, or only look so: what the backend must and must not merge."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from raybench.models.saved_models import ModelConfig, format_models_conf

# What each is refused for; "" merges.
EXPECTED = {
    "softmax": "differs when rows are sent together",
    "batch_norm": "differs",
    "best_ten": "differs among many rows",
    "longest": "the shape of its output 'y' for a row differs",
    "counter": "keeps state or draws random numbers",
    "seeded": "keeps state or draws random numbers",
    "unseeded": "keeps state or draws random numbers",
    "noise": "differs",
    "sorted": "differs",
    "running_sum": "differs",
    "backwards": "differs",
    "similar": "differs",
    "faint": "differs",
    "threshold": "differs",
    "branch": "differs",
    "any_row": "differs",
    "highest": "differs",
    "distinct": "has shape",
    "of_two": "refuses",
    "free": "",
    "embedding": "",
    "lookup": "",
    "photo": "",
    "bfloat16": "",
    "half": "",
    "joined": "",
    "asserting": "",
}


def write_merging_models(folder: Path) -> None:
    """One model, `rows`, with a signature for each of `EXPECTED`, and its models.conf."""
    export_rows(folder / "rows" / "1")
    (folder / "models.conf").write_text(format_models_conf((ModelConfig(name="rows", base_path=folder / "rows"),)))


def export_rows(folder: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.count = tf.Variable(0.0)
    module.weights = tf.Variable(tf.random.stateless_normal([3, 4], [1, 2]))
    words = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "7"]), tf.constant([1, 2]))
    module.words = tf.lookup.StaticHashTable(words, 0)
    x = tf.TensorSpec([None, 3], tf.float32, name="x")
    text, numbers = tf.TensorSpec([None], tf.string, name="text"), tf.TensorSpec([None, None], tf.int32, name="numbers")

    def add(name: str, function: Callable[..., Any], *specs: tf.TensorSpec) -> None:
        body = tf.function(lambda *inputs: {"y": function(*inputs)}, input_signature=specs or [x], autograph=False)
        setattr(module, name, body)

    _add_dependent(add, module, text)
    _add_independent(add, module, text, numbers)
    tf.saved_model.save(module, str(folder), signatures={name: getattr(module, name) for name in EXPECTED})


def dependent_functions() -> dict[str, Callable[[Any], Any]]:
    """Functions of a batch whose rows influence each other; `longest` takes strings, the others numbers [n, 3]."""
    import tensorflow as tf

    def best_ten(x: tf.Tensor) -> tf.Tensor:
        score = tf.reduce_sum(x, -1)
        return tf.where(score >= tf.math.top_k(score, tf.minimum(tf.size(score), 10)).values[-1], score, 0.0)

    def batch_norm(x: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(x, 0)
        return (x - mean) / tf.sqrt(variance + 1e-3)

    return {
        "softmax": lambda x: tf.nn.softmax(tf.reduce_sum(x, -1), axis=0),
        "batch_norm": batch_norm,
        "best_ten": best_ten,
        "longest": lambda text: tf.strings.length(tf.strings.split(text).to_tensor(default_value=b"padding")),
        "sorted": lambda x: tf.sort(tf.reduce_sum(x, -1)),
    }


def _add_dependent(add: Callable[..., None], module: Any, text: Any) -> None:
    import tensorflow as tf

    for name, function in dependent_functions().items():
        add(name, function, *([text] if name == "longest" else []))
    add("counter", lambda x: x[:, 0] * 0 + module.count.assign_add(1.0))
    add("seeded", lambda x: x + tf.random.uniform(tf.shape(x), seed=3))
    add("unseeded", lambda x: x + tf.random.normal(tf.shape(x)))
    add("noise", lambda x: x + tf.random.stateless_normal(tf.shape(x), [1, 2]))
    add("running_sum", lambda x: tf.cumsum(x, 0))
    add("backwards", lambda x: x[::-1])
    add("similar", lambda x: tf.matmul(tf.nn.softmax(tf.matmul(x, x, transpose_b=True)), x))
    add("faint", lambda x: x + 1e-9 * tf.reduce_mean(x))
    add("threshold", lambda x: tf.where(tf.reduce_any(x > 1000.0), x - tf.reduce_mean(x, 0), x))
    add("branch", lambda x: tf.cond(tf.reduce_any(x < -1000.0), lambda: 2.0 * x, lambda: tf.identity(x)))
    add("any_row", lambda b: b | tf.reduce_any(b), tf.TensorSpec([None], tf.bool, name="b"))
    add("highest", lambda i: tf.reduce_max(i) - i, tf.TensorSpec([None], tf.int32, name="i"))
    add("distinct", lambda x: tf.unique(x[:, 0]).y)
    add("of_two", lambda x: tf.ensure_shape(x, [1, 3])[: tf.shape(x)[0]])


def _add_independent(add: Callable[..., None], module: Any, text: Any, numbers: Any) -> None:
    import tensorflow as tf

    def mean_colors(jpeg: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(jpeg, channels=3), tf.float32), [0, 1])

    def asserting(x: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.assert_less(x, 1e5)]):
            return 2.0 * x

    colors = tf.TensorSpec([3], tf.float32)
    add("free", lambda x: tf.nn.softmax(x @ module.weights))
    add("embedding", lambda i: tf.reduce_mean(tf.gather(module.weights, i), 1), numbers)  # ids from 0 to 2
    add("lookup", module.words.lookup, text)
    add("photo", lambda jpegs: tf.map_fn(mean_colors, jpegs, fn_output_signature=colors), text)
    add("bfloat16", lambda b: 3 * b, tf.TensorSpec([None, 3], tf.bfloat16, name="b"))
    add("half", tf.nn.softmax, tf.TensorSpec([None, 3], tf.float16, name="h"))
    number = tf.TensorSpec([None], tf.int64, name="number")
    add("joined", lambda number, text: tf.strings.join([tf.strings.as_string(number), text]), number, text)
    add("asserting", asserting)
