"""bfloat16 between Triton, whose tensors of it come and go by DLPack alone, and numpy, which has it from ml_dtypes."""

from typing import Any

import numpy as np

BFLOAT16 = "bfloat16"


def received(tensor: Any) -> np.ndarray:
    """A tensor of a request as an array."""
    import tensorflow as tf

    try:
        return tensor.as_numpy()
    except Exception:  # Triton's wrapper names no class for it: numpy has no bfloat16
        return tf.experimental.dlpack.from_dlpack(tensor.to_dlpack()).numpy()


def to_send(tensor_type: Any, name: str, array: np.ndarray) -> Any:
    """A tensor for a response."""
    if array.dtype.name != BFLOAT16:
        return tensor_type(name, array)
    import tensorflow as tf

    with tf.device("CPU:0"):  # else it lies on a GPU where there is one, from where Triton cannot take it
        return tensor_type.from_dlpack(name, tf.constant(array))
