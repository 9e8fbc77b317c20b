"""Which signature is called where the user names none."""

from pathlib import Path

import pytest
from helpers import IMAGES, LOGITS, saved_model

from raybench.models.default_signature import default_signature, default_signatures
from raybench.models.saved_models import ModelConfig


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["a"], "a"),
        (["a", "serving_default"], "serving_default"),
        (["predict_jpegs", "predict_images"], "predict_images"),  # of our own exports
        (["predict_images", "serving_default"], "serving_default"),
        (["a", "b"], None),
        ([], None),
    ],
)
def test_the_usual_signature_is_called(names: list[str], chosen: str | None) -> None:
    """The only one, TensorFlow's serving_default, or that of our own exports; else a user has to choose."""
    assert default_signature(names) == chosen


def model(folder: Path, *signatures: str) -> ModelConfig:
    saved_model(folder / "1", *((name, [IMAGES], [LOGITS]) for name in signatures))
    return ModelConfig(name=folder.name, base_path=folder)


def test_models_on_disk_say_what_they_are_called_by(tmp_path: Path) -> None:
    """Each model has its own answer; one that cannot be read is left to the server, which says why."""
    broken = model(tmp_path / "broken", "a")
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"broken")
    models = {"one": model(tmp_path / "one", "a"), "broken": broken, "none": ModelConfig("none", tmp_path / "none")}
    assert default_signatures(models) == {"one": "a"}


@pytest.mark.parametrize(
    ("signatures", "sentence"),
    [
        (("a", "b"), "model is m; it has signatures a, b: choose one with --signature"),
        ((), "model is m; it has no signature: export it with one, such as serving_default"),
    ],
)
def test_a_choice_is_the_users(signatures: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    """One sentence lists the signatures that there are, or says that there is none."""
    with pytest.raises(ValueError) as error:  # noqa: PT011
        default_signatures({"m": model(tmp_path / "m", *signatures)})
    assert str(error.value) == sentence
