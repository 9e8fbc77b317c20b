"""TensorFlow's answers, which those of servers are compared with."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from real_parts import crops

from raybench.models.reference import NoReferenceError, tensorflow_reference


def test_the_reference_is_tensorflows(models: Path, tmp_path: Path) -> None:
    """The reference loads the model in a process of its own, answers each batch, and answers the same again at once."""
    folder = shutil.copytree(models, tmp_path / "models")
    images = crops(5)
    two, three = ({"images": part} for part in (images[:2], images[2:]))
    with tensorflow_reference(folder / "models.conf") as reference:
        first = reference.answers("mobilenet-no-opt", "predict_images", [two, three])
        assert [answer["scores"].shape for answer in first] == [(2, 1000), (3, 1000)]
        scores = np.concatenate([answer["scores"] for answer in first])
        assert len({row.tobytes() for row in scores}) == 5
        with pytest.raises(NoReferenceError, match="nosuch"):
            reference.answers("nosuch", "predict_images", [two])
        shutil.rmtree(folder)
        assert reference.answers("mobilenet-no-opt", "predict_images", [three])[0]["scores"] is first[1]["scores"]
