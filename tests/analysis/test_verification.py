"""Whether answers agree with TensorFlow's, and whether that could be told."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from real_parts import crops

from raybench.analysis.verification import compare
from raybench.models.reference import NoReferenceError, Outputs, Reference
from raybench.results.records import ModelVerification, OutputDifference

RNG = np.random.default_rng(0)
SCORES = RNG.normal(0, 3, (6, 10)).astype(np.float32)
RIGHT = [
    {"scores": SCORES[:4], "classes": SCORES[:4].argmax(1)},
    {"scores": SCORES[4:], "classes": SCORES[4:].argmax(1)},
]


def changed(values: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{**RIGHT[0], "scores": values[:4]}, {**RIGHT[1], "scores": values[4:]}]


def compared(replies: Sequence[Outputs], references: Sequence[Outputs], tolerance: float) -> ModelVerification:
    return compare("m", replies, references, tolerance)


def test_the_same_answers_agree() -> None:
    """Answers that are TensorFlow's own agree, and are seen to tell images apart."""
    found = compared(RIGHT, RIGHT, 1e-4)
    assert (found.agrees, found.has_power, found.top1, found.nearest) == (True, True, 1, 1)
    assert found.outputs == (OutputDifference(name="scores", difference=0),)
    assert (found.replies, found.items) == (2, 6)


@pytest.mark.parametrize(("times", "agrees"), [(0.5, True), (2, False)])
def test_the_tolerance_is_the_limit(times: float, agrees: bool) -> None:
    """The largest difference of any value, over the largest value there is, decides."""
    values = SCORES.copy()
    values[2, 3] += times * 1e-3 * np.abs(SCORES).max()
    found = compared(changed(values), RIGHT, 1e-3)
    assert found.difference == pytest.approx(times * 1e-3, rel=1e-3)
    assert found.agrees is agrees


def test_swapped_answers_are_found_whatever_the_tolerance() -> None:
    """Two images that got each other's answers are found by the nearest reference, however large the tolerance."""
    values = SCORES[[1, 0, 2, 3, 4, 5]]
    found = compared(changed(values), RIGHT, 1e9)
    assert found.nearest == pytest.approx(4 / 6)
    assert not found.agrees
    assert not found.has_power


def test_answers_that_are_no_numbers_disagree() -> None:
    """NaN and infinity agree with nothing."""
    for wrong in (np.nan, np.inf):
        values = SCORES.copy()
        values[0, 0] = wrong
        assert not compared(changed(values), RIGHT, 1e9).agrees


def test_answers_that_are_alike_have_no_power() -> None:
    """Where references of different images differ by less than five tolerances, a comparison could not have failed."""
    alike = np.tile(SCORES[:1], (6, 1)) + np.arange(6, dtype=np.float32)[:, None] * 1e-3
    found = compared(changed(alike), changed(alike), 1e-3)
    assert found.agrees
    assert not found.has_power


@pytest.mark.parametrize("reply", [{"classes": RIGHT[0]["classes"]}, {**RIGHT[0], "scores": SCORES[:3]}])
def test_answers_of_another_shape_are_an_error(reply: dict[str, np.ndarray]) -> None:
    """A missing output, or one for fewer images, is told by its name."""
    with pytest.raises(ValueError, match="scores"):
        compared([reply, RIGHT[1]], RIGHT, 1e-4)


def test_the_reference_is_tensorflows(models: Path, tmp_path: Path) -> None:
    """The reference loads the model in a process of its own, answers each batch, and answers the same again at once."""
    folder = shutil.copytree(models, tmp_path / "models")
    reference, images = Reference(folder), crops(5)
    two, three = ({"images": part} for part in (images[:2], images[2:]))
    first = reference.answers("mobilenet-no-opt", "predict_images", [two, three])
    assert [answer["scores"].shape for answer in first] == [(2, 1000), (3, 1000)]
    assert compared(first, first, 1e-4).has_power
    with pytest.raises(NoReferenceError, match="nosuch"):
        reference.answers("nosuch", "predict_images", [two])
    shutil.rmtree(folder)
    assert reference.answers("mobilenet-no-opt", "predict_images", [three])[0]["scores"] is first[1]["scores"]
