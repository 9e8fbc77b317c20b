"""Loads as models need them: the signature that is called, and how many items a request has."""

import re
from pathlib import Path

import pytest
from helpers import IMAGES, LOGITS, entry, listed, saved_model

from raybench.config import Benchmark, ConfigError, plan
from raybench.driver import resolved_loads
from raybench.driver.endpoints import Endpoint
from raybench.driver.resolved_loads import as_on_disk
from raybench.models.saved_models import Signature, TensorSpec

ROWS, PHOTOS = {"x": TensorSpec("FP32", (-1, 2))}, {"x": TensorSpec("UINT8", (4, 8, 8, 3))}
TABLE = {"x": TensorSpec("FP32", (3, 2))}  # three rows, and no axis of items


def sized(inputs: dict[str, TensorSpec], asked: int | None, most_items: int | None = None) -> int | None:
    """How many items a request has, where a user asks for so many or leaves it out."""
    benchmark = Benchmark(server=("triton",), model=("m",), signature="s", batch_size=asked)
    signatures = {Endpoint(benchmark.servers[0], "m", "s"): Signature(inputs, {}, most_items=most_items)}
    (load,) = resolved_loads.with_batch_sizes(benchmark, signatures).loads
    return load.batch_size


@pytest.mark.parametrize(
    ("inputs", "asked", "items"),
    [(ROWS, None, 8), (ROWS, 5, 5), (PHOTOS, None, 4), (PHOTOS, 4, 4), (TABLE, None, 1), (TABLE, 1, 1)],
)
def test_a_request_has_as_many_items_as_the_model_takes(
    inputs: dict[str, TensorSpec], asked: int | None, items: int
) -> None:
    """Without --batch-size it is 8, a fixed number of images, or 1 where the model takes no batch."""
    assert sized(inputs, asked) == items


@pytest.mark.parametrize(
    ("inputs", "asked", "most", "sentence"),
    [
        (TABLE, 2, None, "batch-size is 2; model m takes no batch: give 1, or leave it out"),
        (PHOTOS, 8, None, "batch-size is 8; model m takes 4 items per request: give 4, or leave it out"),
        (ROWS, 8, 4, "batch-size is 8; model m takes at most 4 items per request (max_batch_size): give fewer"),
    ],
)
def test_another_number_of_items_is_refused(
    inputs: dict[str, TensorSpec], asked: int, most: int | None, sentence: str
) -> None:
    """A number of items that every request would be refused for is a sentence before any load."""
    with pytest.raises(ConfigError) as error:
        sized(inputs, asked, most)
    assert str(error.value) == sentence


def test_the_default_number_of_items_is_no_more_than_a_model_takes() -> None:
    """Where nothing was asked for, a model with a smaller max_batch_size gets as many items as it takes."""
    assert sized(ROWS, None, 4) == 4


UINT8, FP32 = 4, 1
ONE = ("serve", [("x", FP32, (-1, 2))], [("y", FP32, (-1, 2))])
TWO = ("other", [("x", FP32, (3, 2))], [("y", FP32, (3, 2))])
DEFAULT = ("serving_default", [("x", FP32, (3, 2))], [("y", FP32, (3, 2))])


def on_disk(tmp_path: Path, *models: list, **asked: object) -> Benchmark:
    """What a dry run sees of models m0, m1, ... with these signatures, in folders of their own."""
    for number, signatures in enumerate(models):
        saved_model(tmp_path / f"m{number}" / "1", *signatures)
    folders = tuple(str(tmp_path / f"m{number}") for number in range(len(models)))
    return as_on_disk(Benchmark(server=("local",), models=str(tmp_path / "none"), model=folders, **asked))  # type: ignore[arg-type]


def test_a_plan_is_the_plan_of_the_run(tmp_path: Path) -> None:
    """--dry-run shows the signature and the number of items that each model on disk will get; models may differ."""
    benchmark = on_disk(tmp_path, [ONE], [TWO, DEFAULT])
    assert [(load.model, load.signature, load.batch_size) for load in benchmark.loads] == [
        (("m0",), "serve", 8),
        (("m1",), "serving_default", 1),
    ]
    assert sorted(trial.id for trial in plan.trials(benchmark)) == [
        "r1-local-m0-serve-w1-c1-b8",
        "r1-local-m1-serving_default-w1-c1-b1",
    ]


def test_what_is_not_on_disk_is_left_to_the_run(tmp_path: Path) -> None:
    """A model that would be exported has its own signature; one of a server by url is asked for it when the run is."""
    exported = as_on_disk(Benchmark(server=("local",), models=str(tmp_path), model=("resnet50-no-opt",)))
    by_url = as_on_disk(Benchmark(server=("triton",), url={"triton": "h:1"}, models=str(tmp_path), model=("m",)))
    assert exported.loads[0].signature == "predict_images"
    assert (by_url.loads[0].signature, by_url.loads[0].batch_size) == (None, None)


def test_a_choice_that_only_a_user_can_make_is_a_sentence(tmp_path: Path) -> None:
    """Where a model has several signatures and none is the usual one, they are listed."""
    with pytest.raises(ConfigError) as error:
        on_disk(tmp_path, [ONE, TWO])
    assert str(error.value) == "model is m0; it has signatures serve, other: choose one with --signature"


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (
            [[ONE], [DEFAULT]],
            "mix is true; its models have different signatures (m0: serve, m1: serving_default)",
        ),
        ([[ONE], [("serve", *TWO[1:])]], "mix is true; its models take different numbers of items"),
    ],
)
def test_models_of_a_mix_are_called_alike(models: list, sentence: str, tmp_path: Path) -> None:
    """Models that share one trial share its signature and its number of items."""
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        on_disk(tmp_path, *models, mix=True)


def test_a_mix_may_hold_a_model_that_is_yet_to_be_exported(tmp_path: Path) -> None:
    """A model that is not there yet takes as many items as the others of its mix."""
    saved_model(tmp_path / "efficientnetb0-no-opt" / "1", ("predict_images", [IMAGES], [LOGITS]))
    (tmp_path / "models.conf").write_text(listed(entry("efficientnetb0-no-opt")))
    models = ("efficientnetb0-no-opt", "resnet50-no-opt")
    (load,) = as_on_disk(Benchmark(server=("local",), model=models, models=str(tmp_path), mix=True)).loads
    assert (load.model, load.items) == (models, 8)


def test_folders_that_no_load_uses_need_not_be_there(tmp_path: Path) -> None:
    """A YAML's folder whose models a flag has replaced is not looked at."""
    saved_model(tmp_path / "m" / "1", ONE)
    benchmark = Benchmark(server=("local",), model=(str(tmp_path / "m"),), saved_models={"gone": "./nowhere"})
    assert as_on_disk(benchmark).loads[0].signature == "serve"
