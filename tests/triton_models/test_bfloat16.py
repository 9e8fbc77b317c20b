"""bfloat16 between Triton and numpy."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import backend_module

bfloat16 = backend_module("bfloat16")


def test_an_answer_leaves_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow puts new tensors on a GPU where it has one, and Triton cannot take one from there."""
    import tensorflow as tf

    asked, real = [], tf.device
    monkeypatch.setattr(tf, "device", lambda name: asked.append(name) or real(name))
    tensor_type = SimpleNamespace(from_dlpack=lambda name, tensor: (name, tensor, asked[-1:]))
    values = np.array([1, 2.5], tf.bfloat16.as_numpy_dtype)
    name, tensor, devices = bfloat16.to_send(tensor_type, "y", values)
    assert (name, devices) == ("y", ["CPU:0"])
    assert (tensor.numpy() == values).all()


def test_others_leave_as_they_are() -> None:
    """numpy's own types need no TensorFlow."""
    values = np.array([1, 2], np.float32)
    sent: Any = bfloat16.to_send(lambda name, array: (name, array), "y", values)
    assert sent[1] is values
