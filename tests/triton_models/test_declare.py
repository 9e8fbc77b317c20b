"""The inputs and outputs that Triton must know."""

import copy
from typing import Any

import pytest
from helpers import backend_module

declare, saved_models = backend_module("declare"), backend_module("saved_models")


def signature(inputs: dict[str, tuple], outputs: dict[str, tuple]) -> Any:
    """A signature of tensors {name: (datatype, shape)}."""
    sides = [{name: saved_models.TensorSpec(*spec) for name, spec in side.items()} for side in (inputs, outputs)]
    return saved_models.Signature(*sides)


def declared(*signatures: Any, config: dict | None = None) -> tuple[dict[str, dict], dict[str, dict], dict[str, str]]:
    """Inputs and outputs by name after the union of m/0, m/1, ..., and what was refused."""
    whole = config or {"input": [], "output": []}
    refused = declare.union(whole, [(f"m/{i}", each) for i, each in enumerate(signatures)])
    return *({entry["name"]: entry for entry in whole[side]} for side in ("input", "output")), refused


IMAGES = signature({"images": ("UINT8", (-1, 224, 224, 3))}, {"logits": ("FP32", (-1, 1000))})


def test_every_tensor_of_every_signature_is_declared() -> None:
    """Triton drops what it does not know without a word, so the union over all signatures is declared."""
    text = signature({"jpeg": ("BYTES", (-1,)), "boxes": ("FP32", (-1, 4))}, {"labels": ("BYTES", (-1,))})
    inputs, outputs, refused = declared(IMAGES, text)
    assert {name: (e["data_type"], e["dims"]) for name, e in inputs.items()} == {
        "images": ("TYPE_UINT8", [-1, 224, 224, 3]),
        "jpeg": ("TYPE_STRING", [-1]),
        "boxes": ("TYPE_FP32", [-1, 4]),
    }
    assert {name: e["data_type"] for name, e in outputs.items()} == {"logits": "TYPE_FP32", "labels": "TYPE_STRING"}
    assert refused == {}


def test_inputs_are_optional_and_ragged() -> None:
    """A request brings its signature's inputs alone, and requests of different N must meet in one execute()."""
    inputs, outputs, _ = declared(IMAGES)
    assert inputs["images"]["optional"] is True
    assert inputs["images"]["allow_ragged_batch"] is True
    assert not {"optional", "allow_ragged_batch"} & set(outputs["logits"])


@pytest.mark.parametrize(
    ("first", "second", "dims"),
    [
        ((-1, 224, 224, 3), (-1, 300, 224, 3), [-1, -1, 224, 3]),
        ((8, 3), (8, 3), [8, 3]),
        ((8, 3), (-1, 3), [-1, 3]),
        ((), (5,), [-1]),
        ((), (), [1]),
    ],
)
def test_sizes_that_differ_become_free(first: tuple, second: tuple, dims: list[int]) -> None:
    """Where signatures differ in a size only, Triton is told that any will do; a scalar travels as one element."""
    sides = [signature({"x": ("FP32", shape)}, {"y": ("FP32", shape)}) for shape in (first, second)]
    inputs, outputs, refused = declared(*sides)
    assert inputs["x"]["dims"] == outputs["y"]["dims"] == dims
    assert refused == {}


def test_what_the_config_declares_stays() -> None:
    """The inputs of the written config keep their place and their type, routing inputs among them."""
    name = {"name": "model_name", "data_type": "TYPE_STRING", "dims": ["1"], "optional": True}
    there = {"name": "images", "data_type": "TYPE_UINT8", "dims": ["-1", "-1", "-1", "3"], "optional": True}
    config = {"input": [copy.deepcopy(name), there], "output": []}
    inputs, _, refused = declared(IMAGES, config=config)
    assert list(inputs) == ["model_name", "images"]
    assert inputs["model_name"] == name
    assert list(map(int, inputs["images"]["dims"])) == [-1, -1, -1, 3]
    assert refused == {}


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ({"images": ("FP32", (-1, 224, 224, 3))}, {}, ["'images'", "TYPE_FP32", "TYPE_UINT8"]),
        ({"images": ("UINT8", (-1, 224))}, {}, ["'images'", "[-1, 224]", "rank"]),
        ({}, {"logits": ("INT64", (-1, 1000))}, ["'logits'", "TYPE_INT64", "TYPE_FP32"]),
        ({"x": ("FP32", None)}, {}, ["'x'", "no fixed rank"]),
        ({}, {"y": ("FP32", None)}, ["'y'", "no fixed rank"]),
        ({"model_name": ("BYTES", (1,))}, {}, ["'model_name'", "backend reserves"]),
        ({"signature": ("BYTES", (1,))}, {}, ["'signature'", "backend reserves"]),
        ({}, {"about": ("BYTES", (1,))}, ["'about'", "backend reserves"]),
    ],
)
def test_a_signature_that_contradicts_is_refused_alone(inputs: dict, outputs: dict, said: list[str]) -> None:
    """A signature that Triton cannot have beside the earlier ones is left out with its reason; the others stay."""
    wrong = signature({"fine": ("FP32", (1,)), **inputs}, {"also": ("FP32", (1,)), **outputs})
    late = signature({"late": ("BOOL", (-1,))}, {})
    found_in, found_out, refused = declared(IMAGES, wrong, late)
    assert list(refused) == ["m/1"]
    assert all(part in refused["m/1"] for part in said)
    assert set(found_in) == {"images", "late"}
    assert set(found_out) == {"logits"}


def test_the_demos_inputs_give_way() -> None:
    """A model may take `images` of any kind: what is declared for the demo's clients alone keeps nobody out."""
    demo = {"name": "images", "data_type": "TYPE_UINT8", "dims": ["-1", "-1", "-1", "3"], "optional": True}
    files, other = signature({"images": ("BYTES", (-1,))}, {}), signature({"images": ("FP32", (-1, 3))}, {})
    config = {"input": [demo], "output": []}
    first = declared(files, other, config=config)
    assert first[0]["images"]["data_type"] == "TYPE_STRING"
    assert list(first[2]) == ["m/1"]
    assert declared(files, other, config=copy.deepcopy(config)) == first
    kept = {"input": [demo], "output": []}
    assert declared(IMAGES, config=kept)[0]["images"]["dims"] == [-1, -1, -1, 3]


@pytest.mark.parametrize("datatype", ["DT_8", "DT_18", "DT_11", "DT_20", "DT_21", "DT_SPARSE", "DT_COMPOSITE", "DT_99"])
def test_what_triton_has_no_type_for_is_refused(datatype: str) -> None:
    """A tensor of a kind that Triton does not know costs its own signature, and not the whole config."""
    wrong, late = signature({"x": ("FP32", (-1,))}, {"bins": (datatype, (-1,))}), signature({"y": ("BOOL", (-1,))}, {})
    found_in, found_out, refused = declared(wrong, late)
    assert "its tensor 'bins' is" in refused["m/0"]
    assert (set(found_in), set(found_out)) == ({"y"}, set())


def test_the_union_of_a_union_is_the_same() -> None:
    """What was declared when Triton read the config and what the backend finds when it loads agree."""
    wrong = signature({"images": ("FP32", (-1,))}, {"logits": ("FP32", (-1, 1000))})
    config: dict[str, list] = {"input": [], "output": []}
    first = declared(IMAGES, wrong, config=config)
    assert declared(IMAGES, wrong, config=copy.deepcopy(config)) == first
    assert list(first[2]) == ["m/1"]


def one(signature: Any, **config: Any) -> dict[str, Any]:
    """A Triton config with the tensors of one signature, as layout per-model declares them."""
    whole = {"max_batch_size": 0, "input": [], "output": [], **config}
    declare.single(whole, signature, max_batch_size=64)
    return whole


def dims(config: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry["dims"] for side in ("input", "output") for entry in config[side]}


WORDS = signature({"words": ("BYTES", (-1,)), "x": ("FP32", (-1, 2))}, {"y": ("FP32", (-1, 3))})
WHOLE = signature({"x": ("FP32", (-1, 2))}, {"y": ("FP32", ())})


def test_a_batched_signature_gets_tritons_batch_axis() -> None:
    """As Triton's TensorFlow backend did: without the first dimension, items that are scalars as one element."""
    config = one(WORDS)
    assert (config["max_batch_size"], config["dynamic_batching"]) == (64, {})
    assert dims(config) == {"words": [1], "x": [2], "y": [3]}
    assert [entry.get("reshape") for entry in config["input"]] == [{"shape": []}, None]


def test_another_signature_has_none() -> None:
    """Where one tensor has no free first dimension all are declared whole, and a scalar is one element."""
    config = one(WHOLE)
    assert config["max_batch_size"] == 0
    assert "dynamic_batching" not in config
    assert dims(config) == {"x": [-1, 2], "y": [1]}


def test_what_the_user_configured_stays() -> None:
    """A batch size, a scheduler and tensors of the user's own config are not replaced, and the rest is added."""
    x = {"name": "x", "data_type": "TYPE_FP32", "dims": ["2"]}
    config = one(WORDS, max_batch_size=8, input=[x])
    assert config["max_batch_size"] == 8
    assert "dynamic_batching" not in config
    assert config["input"][0] is x
    assert dims(config)["words"] == [1]


@pytest.mark.parametrize(
    ("config", "spec", "words"),
    [
        ({"max_batch_size": 8}, WHOLE, "max_batch_size is 8, but not every input and output has a free first"),
        ({"input": [{"name": "z", "data_type": "TYPE_FP32"}]}, WORDS, "has input 'z'; the signature has words, x"),
        ({"input": [{"name": "x", "data_type": "TYPE_INT8"}]}, WORDS, "'x' as TYPE_INT8; it is TYPE_FP32"),
        ({}, signature({"x": ("FP32", None)}, {}), "'x' has no fixed rank"),
        ({}, signature({"x": ("FP32", (-1,))}, {"y": ("DT_8", (-1,))}), "'y' is complex64"),
        ({}, signature({}, {"y": ("FP32", (1,))}), "takes no input"),
    ],
)
def test_what_triton_cannot_hold_is_one_sentence(config: dict[str, Any], spec: Any, words: str) -> None:
    """A config that contradicts the SavedModel, or a tensor that Triton cannot hold, is refused with the culprit."""
    with pytest.raises(ValueError, match=words):
        one(spec, **config)
