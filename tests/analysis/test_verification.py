"""Whether answers agree with TensorFlow's, and whether that could be told."""

import json
import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raybench.analysis import verification
from raybench.analysis.verification import AnsweredItems, OutputMismatchError, compare, suspects, tolerance, unequal
from raybench.models.tensorflow_process import Outputs
from raybench.results.records import ModelVerification, OutputDifference

RNG = np.random.default_rng(0)
SCORES = RNG.normal(0, 3, (6, 10)).astype(np.float32)
RIGHT = [
    {"scores": SCORES[:4], "classes": SCORES[:4].argmax(1)},
    {"scores": SCORES[4:], "classes": SCORES[4:].argmax(1)},
]


def whole(reply: Outputs, reference: Outputs, ids: str) -> AnsweredItems:
    """A reply and TensorFlow's answer to all items of the request, an id a letter."""
    return AnsweredItems(reply, reference, len(ids), 0, tuple(ids))


def changed(values: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{**RIGHT[0], "scores": values[:4]}, {**RIGHT[1], "scores": values[4:]}]


def compared(replies: Sequence[Outputs], references: Sequence[Outputs], tolerance: float) -> ModelVerification:
    """Two replies, of four items and of two."""
    answers = map(whole, replies, references, ("abcd", "ef"))
    return compare("m", list(answers), tolerance)


def one(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> ModelVerification:
    """A request of two items with one output."""
    return compare("m", [whole({"y": np.asarray(found)}, {"y": np.asarray(expected)}, "ab")], tolerance)


def test_the_same_answers_agree() -> None:
    """Answers that are TensorFlow's own agree, and are seen to tell images apart."""
    found = compared(RIGHT, RIGHT, 1e-4)
    assert (found.agrees, found.has_power, found.top1, found.nearest) == (True, True, 1, 1)
    assert found.outputs == (
        OutputDifference(name="scores", difference=0),
        OutputDifference(name="classes", difference=0),
    )
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
    swapped = SCORES[[1, 0, 2, 3, 4, 5]]
    found = compare("m", [whole({"scores": swapped}, {"scores": SCORES}, "abcdef")], 1e9)
    assert found.nearest == pytest.approx(4 / 6)
    assert not found.agrees


def in_tf32(order: Sequence[int] = range(12)) -> ModelVerification:
    """What an H200 answered to 12 photos through ResNet50 without XLA (and a fourth of the embeddings), in some order,
    against full precision: the classes of two have changed, whose two largest scores are within 1.5 %."""
    with np.load(Path(__file__).parents[1] / "data" / "h200-tf32-answers.npz") as seen:
        reference = {name: seen[name] for name in ("scores", "classes", "embeddings")}
        reply = {name: seen[f"found_{name}"][list(order)] for name in reference}
    return compare("m", [whole(reply, reference, "abcdefghijkl")], tolerance_of("float32", is_on_cpu=False))


def test_a_class_between_equal_scores_is_not_another_items_answer() -> None:
    """Rounding that changes a class makes no answer wrong, though other items have that class: scores decide."""
    found = in_tf32()
    assert (found.agrees, found.nearest) == (True, 1)
    assert found.top1 == pytest.approx(10 / 12)


def test_every_slipped_reply_is_found_in_that_rounding() -> None:
    """The answer to any other of these photos, with the class that follows from it, is not taken for a photo's own."""
    for own, other in permutations(range(12), 2):
        assert not in_tf32([other if each == own else each for each in range(12)]).agrees


def test_classes_count_where_their_scores_cannot() -> None:
    """Requests whose scores differ in number cannot be laid side by side: there an exchanged class tells."""
    few, many = np.array([[0.9, 0.8], [0.8, 0.9]]), np.array([[0.9, 0.8, 0.8], [0.8, 0.8, 0.9]])

    def agrees(order: list[int]) -> bool:
        replies = [{"scores": each[order], "classes": each[order].argmax(1)} for each in (few, many)]
        references = [{"scores": each, "classes": each.argmax(1)} for each in (few, many)]
        return compare("m", list(map(whole, replies, references, ("ab", "cd"))), 0.2).agrees

    assert agrees([0, 1])
    assert not agrees([1, 0])


def test_one_class_that_follows_from_no_score_brings_no_other_back() -> None:
    """A reference may round two scores to the same, and have the class of the second: elsewhere scores decide."""
    reference = {"scores": np.array([[0.5, 0.5, 0.0], [0.5, 0.49, 0.3], [0.1, 0.5, 0.3]])}
    reference["classes"] = np.array([1, 0, 1])
    reply = {"scores": reference["scores"].copy(), "classes": np.array([1, 1, 1])}
    reply["scores"][1, :2] = 0.49, 0.5
    parts = [{name: values[place : place + 1] for name, values in reply.items()} for place in range(3)]
    expected = [{name: values[place : place + 1] for name, values in reference.items()} for place in range(3)]
    found = compare("m", list(map(whole, parts, expected, "abc")), 0.2)
    assert (found.difference, found.nearest) == (pytest.approx(0.02), 1)


def test_noise_in_every_value_does_not_hide_whose_answer_it_is() -> None:
    """Rounding of 16 bits may exceed the least distance between two images in single values: over all of them the own
    reference is still the nearest, and a stranger's answer never is."""
    many = RNG.normal(0, 1, (1, 500)) + RNG.normal(0, 0.08, (8, 500))
    noisy = many + RNG.normal(0, 0.08, many.shape)
    found = compare("m", [whole({"y": noisy}, {"y": many}, "abcdefgh")], tolerance_of("mixed_bfloat16"))
    assert found.agrees
    twins = np.concatenate([many, many + RNG.normal(0, 0.001, many.shape)])
    near = twins + RNG.normal(0, 0.08, twins.shape)
    assert compare("m", [whole({"y": near}, {"y": twins}, "abcdefghABCDEFGH")], 0.3).nearest == 1
    swapped = compare("m", [whole({"y": np.roll(noisy, 1, 0)}, {"y": many}, "abcdefgh")], 1e9)
    assert (swapped.nearest, swapped.agrees) == (0, False)


@pytest.mark.parametrize(
    ("found", "expected", "agrees"),
    [
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]], True),
        ([[1, 2], [3, 5]], [[1, 2], [3, 4]], False),
        ([True, False], [True, False], True),
        ([True, True], [True, False], False),
        (np.array([b"cat", b"dog"], object), np.array([b"cat", b"dog"], object), True),
        (np.array([b"cat", b"cow"], object), np.array([b"cat", b"dog"], object), False),
        ([1.0, 2.0], np.array([b"cat", b"dog"], object), False),
        (np.array([b"cat", b"dog"], object), [1.0, 2.0], False),
        ([1 + 2j, 3j], [1 + 2j, 3j], True),
        ([1 + 2j, 3j], [1 - 2j, 3j], False),
        (3.0, 3.0, True),
        (4.0, 3.0, False),
        ([3.0], 3.0, True),  # as Triton has it
        (7, 7, True),
        (np.zeros((0, 3)), np.zeros((0, 3)), True),
        (np.zeros((2, 0)), np.zeros((2, 0)), True),
        (np.zeros((20, 4)), np.zeros((20, 4)), True),
        (np.ones((20, 4)), np.zeros((20, 4)), False),
        ([np.nan, np.inf], [np.nan, np.inf], True),
        ([np.inf, 1.0], [-np.inf, 1.0], False),
        ([np.nan, 1.0], [1.0, 1.0], False),
        ([1.0, 1.0], [np.inf, 1.0], False),
        (np.array([1, 2], np.float16), np.array([1, 2], np.float32), True),
        (np.array([1, 2], np.int32), np.array([1, 2], np.int64), True),
        ([2**53 + 1, 0], [2**53, 0], False),
    ],
)
def test_answers_of_any_type_and_rank_are_compared(found: object, expected: object, agrees: bool) -> None:
    """Floats and complex numbers within the tolerance, integers, booleans and strings exactly, scalars and constants
    whole, nothing with nothing, and what is not finite only with its like in the same place."""
    assert one(np.asarray(found), np.asarray(expected)).agrees is agrees


def test_what_must_be_equal_is_not_within_a_tolerance() -> None:
    """No tolerance makes another label right, or a number that is not finite."""
    assert not one(np.array([1, 3]), np.array([1, 2]), 1e9).agrees
    assert one(np.array([1.0, np.nan]), np.array([1.0, 2.0]), 1e9).difference == sys.float_info.max


def test_classes_may_change_places_with_their_scores() -> None:
    """Two scores that are as good as equal give either class: the scores are compared, and the class follows from them;
    a class that does not is wrong."""
    near, other = np.array([[0.5, 0.5 - 1e-6, 0.1]]), np.array([[0.5 - 1e-6, 0.5, 0.1]])
    right = {"scores": near, "classes": near.argmax(1)}
    assert compare("m", [whole({"scores": other, "classes": other.argmax(1)}, right, "a")], 1e-4).agrees
    assert not compare("m", [whole({"scores": near, "classes": other.argmax(1)}, right, "a")], 1e-4).agrees


def test_rounding_that_hides_the_items_is_no_swap() -> None:
    """Where rounding moves answers by as much as items lie apart, some are nearer to a stranger's reference: that is no
    wrong answer. One that is three times as far off as is usual there is, and so are answers that are all swapped."""
    rng, ids = np.random.default_rng(1), tuple(f"item {number}" for number in range(30))
    towards, places = rng.normal(0, 1, 40), rng.uniform(0, 0.01, 30)
    moved = places + rng.uniform(-0.0004, 0.0004, 30)

    def compared_at(found: np.ndarray) -> ModelVerification:
        reply, reference = (1 + np.outer(each, towards) for each in (found, places))
        return compare("m", [AnsweredItems({"y": reply}, {"y": reference}, 30, 0, ids)], 0.2)

    assert compared_at(moved).agrees
    assert not compared_at(moved).has_power
    slipped = moved.copy()
    slipped[places.argmin()] = places.max()
    assert not compared_at(slipped).agrees
    assert not compared_at(np.roll(places, 1)).agrees


def test_a_part_of_a_request_is_compared_where_rows_are_items() -> None:
    """Of a request of four the answers to two of the items suffice; what has no row for each item is held whole."""
    reply = {"scores": SCORES[:4], "anchors": np.arange(6.0), "version": np.float32(3)}
    part = {**reply, "scores": SCORES[2:4]}
    found = compare("m", [AnsweredItems(reply, part, 4, 2, ("c", "d"))], 1e-4)
    assert (found.agrees, found.items, found.has_power) == (True, 2, True)
    wrong = AnsweredItems(reply, {**part, "scores": SCORES[:2]}, 4, 2, ("c", "d"))
    assert not compare("m", [wrong], 1e-4).agrees


def test_rows_that_depend_on_each_other_are_asked_for_again() -> None:
    """Where a part of a request is answered otherwise, or with another shape, its whole is needed to tell."""
    alone = AnsweredItems({"y": SCORES[:4] / 4}, {"y": SCORES[:1]}, 4, 0, ("a",))
    boxes = AnsweredItems({"y": np.zeros((7, 4))}, {"y": np.zeros((2, 4))}, 4, 0, ("a",))
    fine = AnsweredItems({"y": SCORES[:4]}, {"y": SCORES[1:2]}, 4, 1, ("b",))
    assert suspects([alone, fine, boxes], 1e-4) == [0, 2]
    assert suspects([whole({"y": SCORES}, {"y": SCORES + 1}, "abcdef")], 1e-4) == []


def test_the_same_item_twice_does_not_make_answers_alike() -> None:
    """Requests are sent again and again: equal items have equal answers, which says nothing about different ones."""
    twice = [whole({"y": SCORES[:2]}, {"y": SCORES[:2]}, "ab"), whole({"y": SCORES[:2]}, {"y": SCORES[:2]}, "ab")]
    found = compare("m", twice, 1e-4)
    assert (found.agrees, found.has_power) == (True, True)


def test_answers_that_are_alike_have_no_power() -> None:
    """Where references of different images lie no further apart than five times what may be noise, nothing could have
    failed; noise is what was seen, at least 1e-4 and at most the tolerance."""
    alike = np.tile(SCORES[:1], (6, 1)) + np.arange(6, dtype=np.float32)[:, None] * 1e-3
    found = compare("m", [whole({"y": alike}, {"y": alike}, "abcdef")], 1e-3)
    assert (found.agrees, found.has_power) == (True, False)
    apart = SCORES + np.float32(0.05) * np.abs(SCORES).max()
    assert compare("m", [whole({"y": apart}, {"y": SCORES}, "abcdef")], 0.3).has_power
    assert not compare("m", [whole({"y": 4 * SCORES}, {"y": SCORES}, "abcdef")], 1e9).has_power
    assert not one(np.zeros((0, 3)), np.zeros((0, 3))).has_power


@pytest.mark.parametrize("reply", [{"classes": RIGHT[0]["classes"]}, {**RIGHT[0], "scores": SCORES[:3]}])
def test_answers_of_another_shape_are_an_error(reply: dict[str, np.ndarray]) -> None:
    """A missing output, or one for fewer images, is told by its name."""
    with pytest.raises(OutputMismatchError, match="scores"):
        compared([reply, RIGHT[1]], RIGHT, 1e-4)


def test_unequal_integers_alone_are_told_apart() -> None:
    """Where only integers or strings differ, how many do is known: rounding in 16 bits may be why."""
    reference = {"y": SCORES, "best": np.arange(6)}
    answers = [whole({"y": SCORES, "best": np.array([0, 1, 2, 3, 5, 4])}, reference, "abcdef")]
    assert unequal(answers, compare("m", answers, 1e-4)) == ("best", 2, 6)
    floats = [whole({"y": SCORES + 1, "best": np.array([0, 1, 2, 3, 5, 4])}, reference, "abcdef")]
    assert unequal(floats, compare("m", floats, 1e-4)) is None
    assert unequal(answers, compare("m", [whole(reference, reference, "abcdef")], 1e-4)) is None


def tolerance_of(precision: str | None, *, xla: bool = False, is_on_cpu: bool = True) -> float:
    return tolerance(precision=precision, xla=xla, is_on_cpu=is_on_cpu)


def on_a_gpu(model: str, *, is_right: bool) -> list[dict[str, Any]]:
    """How answers on an H200 differed from TensorFlow's in full precision, as `raybench run` recorded it."""
    recorded = json.loads((Path(__file__).parents[1] / "data" / "h200-verification.json").read_text())
    return [each for each in recorded if (each["model"], each["is_right"]) == (model, is_right)]


def seen_on_a_gpu(model: str) -> float:
    """The largest difference of right answers."""
    return max(float(each["difference"]) for each in on_a_gpu(model, is_right=True))


@pytest.mark.parametrize(
    ("found", "least"),
    [
        (tolerance_of("float32"), 1e-6),
        (tolerance_of("float32", xla=True), 0.0053),
        (tolerance_of("float32", is_on_cpu=False), seen_on_a_gpu("resnet50-no-opt")),
        (tolerance_of("mixed_float16", xla=True, is_on_cpu=False), seen_on_a_gpu("resnet50-xla-amp")),
        (tolerance_of("mixed_float16"), 0.15),
        (tolerance_of("mixed_bfloat16", xla=True), 0.15),
    ],
)
def test_the_tolerance_is_twice_what_correct_servers_differ_by(found: float, least: float) -> None:
    """Correct servers were seen to differ by so much (docs/method.md): none of them is called wrong."""
    assert found >= 2 * least


def test_wrong_answers_are_wrong_on_a_gpu_too() -> None:
    """The wide tolerance of XLA in 16 bits does not cover what a backend answered that read its inputs too late."""
    (wrong,) = on_a_gpu("resnet50-xla-amp", is_right=False)
    assert wrong["difference"] > 3 * tolerance_of("mixed_float16", xla=True, is_on_cpu=False)
    assert wrong["nearest"] < 0.2


def test_float32_on_a_processor_is_held_tightly() -> None:
    """Where nothing rounds to less than float32 the tolerance is 1e-4."""
    assert tolerance_of("float32") == tolerance_of(None) == 1e-4
    assert not verification.is_reduced("float32")
