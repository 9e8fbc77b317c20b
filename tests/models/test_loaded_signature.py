"""A signature in this process, as TensorFlow Serving would load it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raybench.models.loaded_signature import LoadedSignature, SignatureError, readable

X = np.array([[1, 2], [3, 4]], np.float32)


WITHOUT_KERAS = """
import sys
from raybench.models.saved_model_loader import leave_out_keras, load_saved_model
leave_out_keras()
import tensorflow as tf
print(sorted(load_saved_model(tf, sys.argv[1]).signatures), "keras" in sys.modules)
"""


@pytest.mark.slow
def test_models_load_without_keras(models: Path) -> None:
    """Serving a SavedModel does not import Keras, which would cost each instance a second and 114 MiB."""
    command = [sys.executable, "-c", WITHOUT_KERAS, str(models / "scale" / "1")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert said.split("]")[1].strip() == "False", said
    assert "times" in said


def test_what_a_session_loads_is_loaded(broken: Path) -> None:
    """A SavedModel whose objects cannot be restored, as Keras 2 leaves them with an optimizer, is read as its graph."""
    import tensorflow as tf

    with pytest.raises(AttributeError, match="add_slot"):
        tf.saved_model.load(str(broken / "slots" / "1"))
    loaded = LoadedSignature(broken / "models.conf", model="slots", signature="times")
    assert (loaded.call({"x": X})["y"] == 2 * X).all()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("unregistered", "unregistered/1 cannot be loaded: Op type not registered 'NobodysOp'"),
        ("without-weights", "without-weights/1 cannot be loaded: "),
        ("corrupt", "corrupt/1/saved_model.pb: cannot be read as a SavedModel"),
        ("untagged", "untagged/1/saved_model.pb: has no graph tagged 'serve'"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(broken: Path, model: str, sentence: str) -> None:
    """A broken SavedModel is named with TensorFlow's reason, in one line."""
    with pytest.raises(SignatureError, match=sentence) as raised:
        LoadedSignature(broken / "models.conf", model=model, signature="times")
    assert "\n" not in str(raised.value)


def test_bfloat16_is_float32_outside(broken: Path) -> None:
    """numpy has no bfloat16: it is taken as float32, and what comes can be read as that."""
    answer = LoadedSignature(broken / "models.conf", model="bf16", signature="twice").call({"numbers": X})
    assert readable(answer["doubled"]).tolist() == (2 * X).tolist()
