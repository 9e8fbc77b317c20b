"""SavedModels of every kind on every server: found, fed, served and verified, without a flag for any one of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_parts import Run, add_stand_in, raybench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MAKER = Path(__file__).with_name("make_corpus.py")
FEW = "--ui plain --workers 1 --request-count 6 --warmup-request-count 0 --no-calibrate"
EVERYWHERE = (
    *("tf2_module", "keras_export", "tf1_table", "tabular", "embedding", "text", "float16", "bfloat16"),
    *("scalars", "free_axes", "fixed_batch"),
)
SERVERS = {"tfserving", "triton x1", "triton x1 per-model"}
ENCODINGS = {
    "embedding": "int64 [8] in [0, 50)",  # as many as it has
    "text": "digits",
    "tf1_table": "text",
    "bfloat16": "bf16 [8] in [0, 1)",
    "scalars": "price: fp32 in [0, 1); times: int32 in [0, 100)",
    "fixed_batch": "uint8 NHWC",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `models`, the corpus, and a `tensorflow_model_server` that is the double."""
    made = tmp_path_factory.mktemp("corpus")
    (made / "bin").mkdir()
    subprocess.run([sys.executable, MAKER, made / "models"], check=True, timeout=120, capture_output=True)
    return made


def run(folder: Path, flags: str, *models: str) -> Run:
    named = [word for model in models for word in ("-m", model)]
    env = {**os.environ, **add_stand_in(folder / "bin")}
    return raybench("run", *flags.split(), *named, *FEW.split(), cwd=folder, env=env, timeout_s=850)


def verified(done: Run) -> Iterator[dict[str, Any]]:
    """The trials of a run, each without a fault and with answers that agree; the run ended well."""
    assert done.code == 0, f"{done.out}\n{done.err}"
    for trial in done.summary["trials"]:
        assert trial["requests"]["failed"] == 0, trial["id"]
        assert trial["verification"]["agrees"] is True, f"{trial['id']}: {trial['verification']}"
        yield trial


def test_models_of_every_kind_are_served_and_verified_everywhere(folder: Path) -> None:
    """Each model gets values that it accepts, all different, on TF Serving and Triton in both layouts, and each
    answer is TensorFlow's."""
    trials = list(verified(run(folder, "-s triton -s tfserving --layout multi,per-model", *EVERYWHERE)))
    assert {(each["label"], each["model"]["name"]) for each in trials} == {
        (label, model) for label in SERVERS for model in EVERYWHERE
    }
    for trial in trials:
        payload = trial["payload"]
        assert payload["distinct"] == payload["items"] == trial["requests"]["succeeded"] * trial["load"]["batch_size"]
        assert payload["encoding"] == ENCODINGS.get(trial["model"]["name"], payload["encoding"])


@pytest.mark.parametrize("signature", ["serving_default", "halves"])
def test_signatures_that_clash_are_served_under_their_own_names(signature: str, folder: Path) -> None:
    """A tensor's name that another signature gives another type is no obstacle for layout per-model."""
    flags = f"-s triton -s tfserving --layout per-model --signature {signature}"
    assert {each["label"] for each in verified(run(folder, flags, "clash"))} == {"triton x1 per-model", "tfserving"}


def test_a_tensor_of_any_rank_has_the_shape_that_the_user_says(folder: Path) -> None:
    """--shape is all that a model of unknown rank needs; Triton, which cannot declare it, is refused in a sentence."""
    trials = list(verified(run(folder, "-s local -s tfserving --shape anything:2,3", "unknown_rank")))
    assert [each["payload"]["encoding"] for each in trials] == ["fp32 [2, 3] in [0, 1)"] * 2
    refused = run(folder, "-s triton --shape anything:2,3", "unknown_rank")
    assert refused.code == 2
    assert "anything FP32 of any rank has no fixed rank, which Triton needs" in refused.err
    unsaid = run(folder, "-s local", "unknown_rank")
    assert unsaid.code == 2
    assert "with --shape anything:" in unsaid.err


def test_a_keras_model_that_tf_serving_cannot_call_is_explained(folder: Path) -> None:
    """tf.saved_model.save of a Keras 3 model works in TensorFlow and Triton; TF Serving's row says why not, and what
    to do."""
    done = run(folder, "-s local -s triton -s tfserving", "keras_saved")
    assert done.code == 1
    trials = {each["label"]: each for each in done.summary["trials"]}
    for label in ("local", "triton x1"):
        assert trials[label]["verification"]["agrees"] is True, trials[label]["verification"]
    assert "export it by model.export(FOLDER)" in trials["tfserving"]["reason"]
