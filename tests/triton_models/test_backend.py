"""triton_models/saved_model in a real Triton: every answer right, every fault alone."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from real_parts import TritonUnderTest, ask, crops, jpegs

MODELS = ("efficientnetb0-no-opt", "mobilenet-no-opt")
NAMES = {"scores", "classes", "embeddings"}


@cache
def loaded(folder: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(folder))


def reference(models: Path, model: str, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    import tensorflow as tf

    function = loaded(models / model / "1").signatures[signature]
    return {name: t.numpy() for name, t in function(**{k: tf.constant(v) for k, v in inputs.items()}).items()}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).max() / np.abs(b).max())


def test_echo_does_nothing(triton: TritonUnderTest) -> None:
    """What the client and the transport cost is not mixed with work: bytes are added up where that alone is asked."""
    sent = np.ones((1, 2, 4, 4, 3), np.uint8)
    images = triton_grpc.InferInput("images", sent.shape, "UINT8").set_data_from_numpy(sent)
    named = [triton_grpc.InferRequestedOutput("checksum")]
    with triton_grpc.InferenceServerClient(triton.url) as client:
        plain, asked = (client.infer("echo", [images], outputs=outputs, client_timeout=60) for outputs in (None, named))
    assert [tensor.name for tensor in plain.get_response().outputs] == ["count"]
    assert (plain.as_numpy("count")[0], asked.as_numpy("checksum")[0]) == (2, 96 * 97 / 2)


def test_merged_answers_are_right(triton: TritonUnderTest) -> None:
    """Concurrent requests for two models and both signatures, of 1, 2, 3 and 5 images, each get their own answer."""
    pictures = crops(40)
    jobs = []
    kinds = itertools.product(
        ("images", "jpeg_images"), (1, 2, 3, 5), MODELS
    )  # Triton cuts a batch where inputs change
    for i, (encoding, size, model) in enumerate(kinds):
        mine = pictures[np.arange(i, i + size) % len(pictures)]
        signature, value = ("predict_images", mine) if encoding == "images" else ("predict_jpegs", jpegs(mine))
        jobs.append((model, signature, encoding, value))
    before = triton.statistics()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda job: triton.call(job[0], job[1], **{job[2]: job[3]}), jobs))
    after = triton.statistics()
    expected = [reference(triton.models, model, signature, **{name: value}) for model, signature, name, value in jobs]
    for job, answer, own in zip(jobs, answers, expected, strict=True):
        assert {name: array.shape for name, array in answer.items()} == {name: own[name].shape for name in NAMES}
        assert distance(answer["embeddings"], own["embeddings"]) < 1e-4, job[:2]
        assert distance(answer["scores"], own["scores"]) < 1e-4, job[:2]
        assert (answer["classes"] == own["classes"]).all()
        others = [e for e in expected if e is not own and e["scores"].shape == own["scores"].shape]
        nearest = min(distance(answer["scores"], other["scores"]) for other in others)
        assert distance(answer["scores"], own["scores"]) < nearest, job[:2]
    assert after.execution_count - before.execution_count < len(jobs), "nothing was merged"


def test_one_jpeg_is_a_scalar(triton: TritonUnderTest) -> None:
    """predict_jpeg takes one JPEG as the demo's clients send it and answers like predict_jpegs with that one."""
    picture = jpegs(crops(1, seed=3))
    one = triton.call(MODELS[0], "predict_jpeg", jpeg_image=picture)
    assert one["scores"].shape == (1, 1000)
    assert distance(one["scores"], triton.call(MODELS[0], "predict_jpegs", jpeg_images=picture)["scores"]) < 1e-4


PICTURE = np.zeros((1, 32, 32, 3), np.uint8)
BOX = np.zeros((1, 4), np.float32)
REFUSALS = [
    ("nope", "predict_images", {"images": PICTURE}, "NOT_FOUND", ["'nope'", MODELS[0]]),
    (MODELS[0], "nope", {"images": PICTURE}, "NOT_FOUND", ["'nope'", "predict_images"]),
    (None, "predict_images", {"images": PICTURE}, "INVALID_ARGUMENT", ["model_name", MODELS[0]]),
    (MODELS[0], None, {"images": PICTURE}, "INVALID_ARGUMENT", ["signature", "predict_images"]),
    (MODELS[0], "predict_images", {}, "INVALID_ARGUMENT", ["'images' is missing"]),
    (
        MODELS[0],
        "predict_images",
        {"images": PICTURE, "boxes": BOX},
        "INVALID_ARGUMENT",
        ["'boxes'"],
    ),
    (MODELS[0], "predict_images", {"images": PICTURE.astype("f4")}, "INVALID_ARGUMENT", ["'images'", "FP32", "UINT8"]),
    (MODELS[0], "predict_images", {"images": PICTURE[0]}, "INVALID_ARGUMENT", ["images"]),
    (MODELS[0], "predict_images", {"images": PICTURE[:0]}, "INVALID_ARGUMENT", ["'images' is empty"]),
    (MODELS[0], "predict_jpegs", {"jpeg_images": np.array([b"no jpeg"], object)}, "INVALID_ARGUMENT", ["JPEG"]),
    ("clash", "twice", {"whole": np.array([1], "i4")}, "NOT_FOUND", ["'x'", "one type and rank"]),
]


@pytest.mark.parametrize(("model", "signature", "inputs", "status", "words"), REFUSALS)
def test_a_fault_is_refused_with_its_culprit(
    triton: TritonUnderTest, model: str, signature: str, inputs: dict[str, np.ndarray], status: str, words: list[str]
) -> None:
    """A request that cannot be served gets the right code and a sentence that names the culprit and what exists."""
    answer = triton.call(model, signature, **inputs)
    assert answer[0] == status, answer
    assert all(word in answer[1] for word in words), answer[1]


def test_neighbours_of_a_fault_are_answered(triton: TritonUnderTest) -> None:
    """A corrupt JPEG in a merged call fails its own request alone."""
    good, bad = jpegs(crops(2)), np.array([b"no jpeg"], object)
    sent = [bad if i % 4 == 0 else good for i in range(16)]
    before = triton.statistics()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda each: triton.call(MODELS[1], "predict_jpegs", jpeg_images=each), sent))
    merged = triton.statistics().execution_count - before.execution_count < len(sent)
    assert merged, "no two requests met in one execute()"
    for each, answer in zip(sent, answers, strict=True):
        assert answer[0] == "INVALID_ARGUMENT" if each is bad else answer["scores"].shape == (2, 1000)


@pytest.mark.parametrize(("parameters", "factor"), [({}, 3.0), ({"version": "1"}, 1.0), ({"version": "3"}, 3.0)])
def test_versions(triton: TritonUnderTest, parameters: dict[str, str], factor: float) -> None:
    """The highest version answers unless a request names another that the policy serves."""
    x = np.array([[1, 2], [3, 4]], np.float32)
    assert (triton.call("scale", "times", parameters, x=x)["y"] == factor * x).all()


def test_unknown_version(triton: TritonUnderTest) -> None:
    """A version that is not served is NOT_FOUND and the sentence lists those that are."""
    status, sentence = triton.call("scale", "times", {"version": "2"}, x=np.ones((1, 2), np.float32))
    assert status == "NOT_FOUND"
    assert "[1, 3]" in sentence


def test_huge_version(triton: TritonUnderTest) -> None:
    """A version that no integer holds is not found, as any other that is not there."""
    assert triton.call("scale", "times", {"version": "9" * 5000}, x=np.ones((1, 2), np.float32))[0] == "NOT_FOUND"


def test_an_output_of_another_signature_is_refused(triton: TritonUnderTest) -> None:
    """Triton knows the outputs of all signatures; a request that names another's is not answered without them."""
    wire = {"x": np.ones((1, 1, 2), np.float32)}
    routing = {"model": "scale", "signature": "times"}
    with triton_grpc.InferenceServerClient(triton.url) as client:
        assert set(ask(client, wire, parameters=routing, outputs=("y",))) == {"y"}
        for outputs in (("scores",), ("y", "scores")):
            status, sentence = ask(client, wire, parameters=routing, outputs=outputs)
            assert status == "INVALID_ARGUMENT"
            assert "output 'scores'" in sentence
            assert "it gives y" in sentence


def test_parameters_route_as_tensors_do(triton: TritonUnderTest) -> None:
    """Request parameters `model` and `signature` stand for the two routing tensors."""
    x = np.ones((1, 2), np.float32)
    assert (triton.call(None, None, {"model": "scale", "signature": "times"}, x=x)["y"] == 3 * x).all()


def test_what_cannot_be_split_is_not_merged(triton: TritonUnderTest) -> None:
    """A signature whose output is not one row per image is called once per request, however many meet."""
    x = [np.full((n, 2), n, np.float32) for n in range(1, 13)]
    with ThreadPoolExecutor(12) as pool:
        sums = list(pool.map(lambda each: triton.call("scale", "total", x=each)["sum"], x))
    assert [float(each[0]) for each in sums] == [3 * float(each.sum()) for each in x]


def test_rows_that_are_not_the_images_are_answered_alone(triton: TritonUnderTest) -> None:
    """A signature that looks splittable and is not gives each request its own answer, however many meet."""
    x = [np.full((n, 2), n, np.float32) for n in range(2, 14)]
    with ThreadPoolExecutor(12) as pool:
        values = list(pool.map(lambda each: triton.call("scale", "distinct", x=each)["values"], x))
    assert [each.tolist() for each in values] == [[float(n)] for n in range(2, 14)]


def test_nobodys_answer_depends_on_a_stranger(triton: TritonUnderTest) -> None:
    """Rows that are ranked against each other are ranked within their own request, whoever else asks."""
    x = [np.array([[n % 5, 1], [1, 2], [n % 3, 0]], np.float32) for n in range(15)]
    alone = [triton.call("scale", "share", x=each)["share"] for each in x]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda n: triton.call("scale", "share", x=x[n % 15])["share"], range(180)))
    assert all((answer == alone[n % 15]).all() for n, answer in enumerate(together))


def test_images_with_boxes(triton: TritonUnderTest) -> None:
    """A signature with several inputs works, also where they differ in their first dimension."""
    boxes = np.array([[0, 0, 1, 2], [0, 0, 3, 3]], np.float32)
    answer = triton.call("scale", "boxed", images=np.zeros((1, 8, 8, 3), np.uint8), boxes=boxes)
    assert answer["areas"].tolist() == [2.0, 9.0]


def test_metadata_is_the_demo_api(triton: TritonUnderTest) -> None:
    """Triton's metadata shows the demo's inputs as the demo declared them, and the union of all signatures."""
    with triton_grpc.InferenceServerClient(triton.url) as client:
        metadata = client.get_model_metadata("saved_model")
    inputs = {each.name: (each.datatype, list(each.shape)[1:]) for each in metadata.inputs}
    assert list(metadata.versions) == ["1"]
    assert inputs["model_name"] == inputs["signature"] == ("BYTES", [1])
    assert inputs["images"] == ("UINT8", [-1, -1, -1, 3])
    assert inputs["jpeg_image"] == ("BYTES", [1])
    assert inputs["boxes"] == ("FP32", [-1, 4])
    assert inputs["jpeg_images"] == ("BYTES", [-1])
    assert inputs["x"] == ("FP32", [-1, 2])
    assert {each.name for each in metadata.outputs} >= {*NAMES, "y", "sum", "areas", "plus"}


def test_a_request_that_cannot_be_read_fails_alone(triton: TritonUnderTest) -> None:
    """Bytes that are no text where a name should be refuse their own request; those around it are answered."""
    x = np.ones((1, 2), np.float32)

    def ask(number: int) -> Any:
        if number % 3:
            return triton.call("scale", "times", x=x)
        names = {"model_name": np.array([b"\xff\xfe" * 5000], object), "signature": np.array([b"\xff"], object)}
        return triton.call(None, None, x=x, **names)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(24)))
    for number, answer in enumerate(answers):
        assert (answer["y"] == 3).all() if number % 3 else answer[0] == "NOT_FOUND"
