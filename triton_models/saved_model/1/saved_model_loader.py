"""A SavedModel in TensorFlow, whichever of its two descriptions TensorFlow can restore."""

import os
from importlib.util import find_spec
from typing import Any


def leave_out_keras() -> None:
    """Have TensorFlow, before it is imported, not import Keras: a second and 114 MiB that no SavedModel needs.

    It then looks for tf_keras in its place (tensorflow/__init__.py), so where that is installed nothing changes.
    """
    if find_spec("tf_keras") is None:
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def load_saved_model(tf: Any, folder: str) -> Any:
    """The SavedModel in a folder, whose path is UTF-8, with its `signatures` by name.

    A SavedModel describes the Python objects that it was saved from, and holds a graph tagged `serve`, which is all
    that TensorFlow Serving reads. The objects load in half the time; those of Keras 2 with an optimizer, or of a class
    that is not installed, do not load at all, and then the graph is read alone. Calls are equally fast.

    Raises what TensorFlow raises where neither loads.
    """
    from tensorflow.python.saved_model import load_v1_in_v2

    try:
        return tf.saved_model.load(folder)
    except Exception as first:
        try:
            return load_v1_in_v2.load(folder, ["serve"])
        except Exception:
            raise first from None
