"""raybench models: what there is to measure, and what would be sent, without TensorFlow and without a run."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import IMAGES, LOGITS, conf, entry, listed, saved_model

from raybench import cli

FP32, INT64, STRING = 1, 9, 7
TEXT, ANY = ("text", STRING, (-1,)), ("x", FP32, None)
LONG = [(f"a_rather_long_name_{number}", INT64, (-1, 4)) for number in range(5)]
MODELS = {
    "photos": [("serving_default", [IMAGES], [LOGITS]), ("by_text", [TEXT], [LOGITS])],
    "floats": [("only", [("images", FP32, (-1, 32, 32, 3))], [LOGITS])],
    "any": [("serving_default", [ANY], [ANY])],
    "table": [("serving_default", LONG, [("scalar", FP32, ())])],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, signatures in MODELS.items():
        saved_model(tmp_path / "models" / name / "1", *signatures)
    conf(tmp_path / "models", listed(*map(entry, MODELS)))
    return tmp_path


def said(arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.main, ["models", *arguments.split()])
    return done.exit_code, done.output


@pytest.mark.usefixtures("folder")
def test_every_model_is_listed_with_what_would_be_sent() -> None:
    """Each signature has its tensors, the default is marked, and one line says what raybench sends, in 80 columns."""
    code, text = said("")
    assert code == 0
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for expected in (
        "photos (version 1, models/photos)", "serving_default (default)", "by_text",
        "in images UINT8 [-1, 224, 224, 3]", "out logits FP32 [-1, 1000]",
        "sends uint8 NHWC; 150,528 bytes an item", "sends text; 16 bytes an item",
        "sends float32 NHWC, assumed 0 to 255; 12,288 bytes an item", "in x FP32 any rank",
        "problem it takes x FP32 of any rank, whose size is free: give the size of",
    ):  # fmt: skip
        assert expected in lines, text
    assert max(map(len, text.splitlines())) <= 80
    assert "in [0,\n" not in text


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("flags", "encoding"),
    [
        ("-m any --shape x:3", "fp32 [3] in [0, 1)"),
        ("-m floats --range images:0,1", "float32 NHWC 0 to 1"),
        ("-m models/any --shape x:2", "fp32 [2] in [0, 1)"),
        ("-m mine=./models/floats", "float32 NHWC, assumed 0 to 255"),
    ],
)
def test_flags_of_a_run_say_what_is_sent(flags: str, encoding: str) -> None:
    """What --shape and --range change is seen before a run, of a model by its name or by its folder."""
    code, text = said(f"{flags} --format json")
    assert code == 0, text
    (model,) = json.loads(text)["models"]
    assert model["signatures"][0]["encoding"] == encoding
    assert model["signatures"][0]["is_default"]


def test_json_has_null_for_what_is_not_known(folder: Path) -> None:
    """A program reads the same: shapes as lists, null for an unknown rank and for what cannot be sent, and why."""
    (folder / "models" / "photos" / "1" / "saved_model.pb").write_bytes(b"broken")
    models = {each["name"]: each for each in json.loads(said("--format json")[1])["models"]}
    (signature,) = models["any"]["signatures"]
    assert signature["inputs"] == [{"name": "x", "datatype": "FP32", "shape": None, "is_optional": False}]
    assert signature["encoding"] is None
    assert "--shape x:4,16" in signature["problem"]
    assert models["table"]["signatures"][0]["items_per_request"] is None
    assert "cannot be read as a SavedModel" in models["photos"]["problem"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("-m nope", ["model is nope", "has photos, floats, any, table", "choose one of them"]),
        ("--models absent", ["models is absent", "has no models", "raybench export", "-m", "--url"]),
        ("--url tfserving=127.0.0.1:1", ["url is tfserving=127.0.0.1:1", "does not list its models", "-m"]),
        ("--url tfserving=127.0.0.1:1 -m a", ["url tfserving=127.0.0.1:1", "no TF Serving answers"]),
        ("--url triton=127.0.0.1:1", ["url triton=127.0.0.1:1", "no Triton answers"]),
        ("--shape x", ["shape is x", "NAME:D,D"]),
    ],
)
def test_what_cannot_be_listed_is_one_sentence(flags: str, words: list[str]) -> None:
    """Wrong usage and a server that does not answer are exit 2 and a sentence with the remedy."""
    code, text = said(flags)
    assert code == 2
    assert text.count("\n") == 1
    assert all(word in text for word in words), text


def test_help_names_the_defaults_of_this_command() -> None:
    """Without -m all models are listed, and the help says so, not the model that a run takes."""
    said = " ".join(CliRunner().invoke(cli.main, ["models", "--help"]).output.split())
    assert "repeatable. [all]" in said
    assert "efficientnetb0" not in said
