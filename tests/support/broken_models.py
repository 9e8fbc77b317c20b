"""Models of which each fails in its own way beside one that is good, and ones that only look broken."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiny_models import export_scale

from raybench.models.saved_models import ModelConfig, format_models_conf

# What is said of each; models that are served whole are not here.
REASONS = {
    "unregistered": "version 1 cannot be loaded: Op type not registered 'NobodysOp'",
    "corrupt": "cannot be read as a SavedModel",
    "untagged": "has no graph tagged 'serve'",
    "without-weights": "version 1 cannot be loaded:",
    "audio/spectrum": "its tensor 'bins' is complex64, which Triton does not support",
    "audio/ragged": "its tensor 'wave' is ragged, which Triton does not support",
    "audio/sparse": "its tensor 'wave' is sparse, which Triton does not support",
    "segment/serving_default": "its tensor 'output_0' is TYPE_FP32 [-1, 8, 8, 2], but an earlier signature declared",
}


def write_broken_models(folder: Path) -> None:
    """`good`, `slots` and `bf16`, which are served, and one model for each reason, with their models.conf."""
    names = ["good", *(name.partition("/")[0] for name in REASONS), "classify", "slots", "bf16"]
    ordered = dict.fromkeys(sorted(names, key=lambda name: name == "segment"))  # after `classify`, which it contradicts
    _write_scales(folder)
    _write_typed(folder)
    models = tuple(ModelConfig(name=name, base_path=folder / name) for name in ordered)
    (folder / "models.conf").write_text(format_models_conf(models, relative_to=folder))


def _write_scales(folder: Path) -> None:
    """A model that multiplies by 2, and copies of it with something changed."""
    export_scale(folder / "good" / "1", 2.0)
    for name in ("unregistered", "corrupt", "untagged", "without-weights", "slots"):
        shutil.copytree(folder / "good" / "1", folder / name / "1")
    (folder / "corrupt" / "1" / "saved_model.pb").write_bytes(b"no message")
    shutil.rmtree(folder / "without-weights" / "1" / "variables")
    with changed(folder / "unregistered" / "1") as graphs:
        for function in graphs[0].graph_def.library.function:
            for node in function.node_def:
                node.op = "NobodysOp" if node.op == "Mul" else node.op
    with changed(folder / "untagged" / "1") as graphs:
        graphs[0].meta_info_def.tags[:] = ["train"]
    export_with_slots(folder / "slots" / "1")


def export_with_slots(folder: Path) -> None:
    """The scale model with slot variables of no optimizer, as Keras 2 leaves them: only a session loads it."""
    if not folder.exists():
        export_scale(folder, 2.0)
    with changed(folder) as graphs:
        nodes = graphs[0].object_graph_def.nodes
        variable = next(number for number, node in enumerate(nodes) if node.HasField("variable"))
        nodes.add().CopyFrom(nodes[variable])
        nodes[0].slot_variables.add(
            original_variable_node_id=variable, slot_name="m", slot_variable_node_id=len(nodes) - 1
        )


def _write_typed(folder: Path) -> None:
    """Models whose signatures differ in what Triton can declare of them."""
    import tensorflow as tf

    def save(name: str, **functions: tuple[Callable[..., Any], Any]) -> None:
        module = tf.Module()
        for signature, (function, spec) in functions.items():
            setattr(module, signature, tf.function(function, input_signature=[spec], autograph=False))
        signatures = {signature: getattr(module, signature) for signature in functions}
        tf.saved_model.save(module, str(folder / name / "1"), signatures=signatures)

    wave = tf.TensorSpec([None, 64], tf.float32, name="wave")
    image = tf.TensorSpec([None, 8, 8, 3], tf.float32, name="image")
    numbers = tf.TensorSpec([None, 2], tf.bfloat16, name="numbers")
    loudness = (lambda wave: {"loudness": tf.reduce_max(wave, -1)}, wave)
    save(
        "audio",
        spectrum=(lambda wave: {"bins": tf.signal.rfft(wave)}, wave),
        loudness=loudness,
        ragged=loudness,
        sparse=loudness,
    )
    with changed(folder / "audio" / "1") as graphs:
        graphs[0].signature_def["ragged"].inputs["wave"].composite_tensor.components.add(name="values")
        graphs[0].signature_def["sparse"].inputs["wave"].coo_sparse.values_tensor_name = "values"
    save("classify", serving_default=(lambda image: {"output_0": tf.reduce_mean(image, [1, 2])[:, :2]}, image))
    save("segment", serving_default=(lambda image: {"output_0": image[..., :2]}, image))
    save("bf16", twice=(lambda numbers: {"doubled": 2 * numbers}, numbers))


@contextmanager
def changed(folder: Path) -> Iterator[Any]:
    """The graphs of a SavedModel, written back at the end of the block."""
    from tensorflow.core.protobuf import saved_model_pb2

    file = folder / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    yield proto.meta_graphs
    file.write_bytes(proto.SerializeToString())
