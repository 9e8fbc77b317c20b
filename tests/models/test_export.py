"""export: SavedModels that TensorFlow Serving can load, with the right answers."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import backend_module
from real_parts import BIN, crops, jpeg

from raybench.models.model_facts import describe_model
from raybench.models.saved_models import read_models_conf, read_signatures

MODEL = "mobilenet-no-opt"
SIGNATURES = {"predict_images": "images", "predict_jpeg": "jpeg_image", "predict_jpegs": "jpeg_images"}


def test_tensorflow_serving_can_load_it(exported: Path) -> None:
    """TF1's loader, which restores as TF Serving does, gives what tf.saved_model.load gives, bit for bit."""
    import tensorflow as tf

    folder, pictures = str(exported / MODEL / "1"), crops(2)
    expected = tf.saved_model.load(folder).signatures["predict_images"](images=tf.constant(pictures))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        signature = graph.signature_def["predict_images"]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        answers = session.run(outputs, {signature.inputs["images"].name: pictures})
    assert set(answers) == set(expected)
    assert all((answers[name] == expected[name].numpy()).all() for name in answers)


def test_signatures_are_the_demo_ones(exported: Path) -> None:
    """Each model has predict_images, predict_jpeg and predict_jpegs, returning scores, classes and embeddings."""
    signatures = read_signatures(exported / MODEL / "1")
    assert {name: list(signature.inputs) for name, signature in signatures.items()} == {
        name: [taken] for name, taken in SIGNATURES.items()
    }
    assert signatures["predict_images"].inputs["images"].shape == (-1, -1, -1, 3)
    assert signatures["predict_jpeg"].inputs["jpeg_image"].shape == ()
    assert signatures["predict_jpegs"].inputs["jpeg_images"].shape == (-1,)
    assert {name for s in signatures.values() for name in s.outputs} == {"scores", "classes", "embeddings"}


def test_random_weights_tell_pictures_apart(exported: Path) -> None:
    """Random weights give different pictures different answers, else comparing servers would prove nothing."""
    import tensorflow as tf

    predict = tf.saved_model.load(str(exported / MODEL / "1")).signatures["predict_images"]
    answers = predict(images=tf.constant(crops(16)))
    scores = answers["scores"].numpy().astype(float)
    logits = np.log(scores + 1e-30)
    spread = (logits - logits.mean(axis=1, keepdims=True)).std(axis=0).mean()
    assert 1.5 < spread < 6
    assert len(set(answers["classes"].numpy())) >= 6
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-4)


def test_preprocessing_belongs_to_the_architecture(exported: Path) -> None:
    """The signature does what keras does by hand with this architecture's own preprocess_input."""
    import keras
    import tensorflow as tf

    pictures = crops(3)
    loaded = tf.saved_model.load(str(exported / "mobilenet-no-opt" / "1"))
    got = loaded.signatures["predict_images"](images=tf.constant(pictures))["embeddings"].numpy()
    model = keras.applications.MobileNet(weights=None, classifier_activation=None)
    for variable, value in zip(model.variables, loaded.weights, strict=True):
        variable.assign(value)
    pool = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    by_hand = keras.applications.mobilenet.preprocess_input(pictures.astype(np.float32))
    expected = keras.Model(model.input, pool.output)(by_hand, training=False).numpy().reshape(3, -1)
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-4


def test_jpeg_and_pixels_agree(exported: Path) -> None:
    """A JPEG and its own decoded pixels, of any size, get the same answer: resizing is in the graph."""
    import tensorflow as tf

    signatures = tf.saved_model.load(str(exported / MODEL / "1")).signatures
    encoded = jpeg(crops(1, size_px=320)[0])
    pixels = tf.io.decode_jpeg(encoded, channels=3)[tf.newaxis]
    from_pixels = signatures["predict_images"](images=pixels)["scores"].numpy()
    from_jpegs = signatures["predict_jpegs"](jpeg_images=tf.constant([encoded]))["scores"].numpy()
    assert np.abs(from_pixels - from_jpegs).max() < 1e-4


def test_models_conf_keeps_the_others(exported: Path) -> None:
    """Exporting a model leaves the others in models.conf, and every entry's base path exists."""
    entries = {entry.name: entry for entry in read_models_conf(exported / "models.conf")}
    assert {MODEL, "scale", "clash"} == set(entries)
    assert all(entry.versions() for entry in entries.values())
    assert not [path for path in exported.iterdir() if path.name.startswith(".")]


def test_facts_travel_with_the_model(exported: Path) -> None:
    """What a model is (precision, XLA, hash) is read back from the SavedModel itself."""
    facts = describe_model(exported / "models.conf", MODEL)
    assert (facts.version, facts.precision, facts.xla) == (1, "float32", False)
    assert len(facts.sha256 or "") == 64
    assert describe_model(exported / "models.conf", "nope").sha256 is None


def test_an_export_is_a_new_version(tmp_path: Path) -> None:
    """A model that is exported again gets the next version number, beside those that a server may be reading."""
    import tensorflow as tf

    from raybench.models.export import next_version, write_version

    class Twice(tf.Module):
        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def twice(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": 2 * x}

    module = Twice()
    written = [write_version(module, {"twice": module.twice}, tmp_path / "twice", {"xla": False}) for _ in range(2)]
    assert written == [tmp_path / "twice" / "1", tmp_path / "twice" / "2"]
    assert all(list(read_signatures(folder)) == ["twice"] for folder in written)
    (tmp_path / "twice" / "007").mkdir()  # a version whose files are not there yet
    (tmp_path / "twice" / "notes").mkdir()
    assert next_version(tmp_path / "twice") == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["twice"]


@pytest.mark.parametrize(("arguments", "word"), [(["nope"], "'nope'"), (["resnet50", "--variants", "fast"], "'fast'")])
def test_unknown_names_are_refused(arguments: list[str], word: str, tmp_path: Path) -> None:
    """An unknown architecture or variant is exit 2 with a sentence that lists what there is; nothing is written."""
    command = [str(BIN / "raybench"), "export", *arguments, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ), check=False)
    assert done.returncode == 2
    assert word in done.stderr
    assert "no-opt, xla-amp" in done.stderr or "resnet50" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_xla_amp_agrees_with_plain(tmp_path: Path) -> None:
    """The xla-amp variant has the same weights: it differs from the plain one by float16's rounding alone.

    EfficientNet ends in a dense layer and MobileNet, of the other tests, in a convolution: both tell pictures apart.
    """
    import tensorflow as tf

    command = [str(BIN / "raybench"), "export", "efficientnetb0", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    pictures = tf.constant(crops(4))
    folders = [str(tmp_path / f"efficientnetb0-{variant}" / "1") for variant in ("no-opt", "xla-amp")]
    plain, fast = (tf.saved_model.load(folder).signatures["predict_images"](images=pictures) for folder in folders)
    assert plain["embeddings"].shape == (4, 1280)
    assert np.ptp(plain["scores"].numpy(), axis=0).max() > 0.1
    difference = np.abs(plain["scores"].numpy() - fast["scores"].numpy()).max()
    assert 0 < difference < 0.05
    assert describe_model(tmp_path / "models.conf", "efficientnetb0-xla-amp").precision == "mixed_float16"
    assert describe_model(tmp_path / "models.conf", "efficientnetb0-xla-amp").xla is True


@pytest.mark.slow
def test_the_backend_knows_compiled_models(exported: Path, tmp_path: Path) -> None:
    """An XLA model is known by its graph, so that its requests are not merged into shapes that compile for seconds."""
    import tensorflow as tf

    command = [str(BIN / "raybench"), "export", "mobilenet", "--variants", "xla-amp", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    graph_facts = backend_module("graph_facts").graph_facts
    folders = {False: exported / "mobilenet-no-opt" / "1", True: tmp_path / "mobilenet-xla-amp" / "1"}
    for is_compiled, folder in folders.items():
        functions = tf.saved_model.load(str(folder)).signatures.values()
        assert {graph_facts(function).is_compiled for function in functions} == {is_compiled}
