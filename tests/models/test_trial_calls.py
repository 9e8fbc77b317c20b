"""Calls by which raybench finds out what a SavedModel accepts."""

from pathlib import Path

import numpy as np
import pytest
from tiny_models import ARCHITECTURES

from raybench.models.trial_calls import NotTriedError, TrialCalls, unfinite


def test_a_model_says_what_it_refuses(models: Path) -> None:
    """TensorFlow's own reason comes back for what it refuses; a model that is not there is not tried."""
    with TrialCalls(models / "models.conf", deadline_s=120) as calls:
        assert calls.refusal("scale", "times", {"x": np.ones((2, 2), np.float32)}) is None
        refused = calls.refusal(ARCHITECTURES[0], "predict_jpegs", {"jpeg_images": np.array([b"text"], object)})
        assert refused is not None
        assert not refused.is_computed
        assert "image" in refused.sentence
        assert "\n" not in refused.sentence
        infinite = calls.refusal("scale", "times", {"x": np.full((2, 2), np.inf, np.float32)})
        assert infinite is not None
        assert infinite.is_computed
        with pytest.raises(NotTriedError, match="nope"):
            calls.refusal("nope", "times", {"x": np.ones((2, 2), np.float32)})


def test_a_model_that_takes_too_long_is_not_tried(models: Path) -> None:
    """A deadline ends trials: the run goes on with values as they are."""
    with TrialCalls(models / "models.conf", deadline_s=0.05) as calls, pytest.raises(NotTriedError, match="in time"):
        calls.refusal("scale", "times", {"x": np.ones((2, 2), np.float32)})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([1.0]), None),
        (np.array([np.nan]), "output y is not finite"),
        (np.array([1, -np.inf], np.float16), "output y is not finite"),
        (np.array([b"nan"], object), None),
        (np.array(3), None),
    ],
)
def test_answers_are_looked_at(values: np.ndarray, said: str | None) -> None:
    """Only numbers that are NaN or infinite are not good; strings and integers are."""
    assert unfinite({"y": values}) == said
