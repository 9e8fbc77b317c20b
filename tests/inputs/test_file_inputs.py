"""--input: which source fills which input, and what becomes of rows that do not fit."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from raybench.config import ConfigError
from raybench.inputs.declared_inputs import DeclaredInputs
from raybench.inputs.input_sources import input_source
from raybench.inputs.photo_source import NOISE, photo_source
from raybench.inputs.source import BoundSource
from raybench.inputs.stored_inputs import StoredInputs
from raybench.models.saved_models import Signature, TensorSpec

IDS, TEXT, SCORE = TensorSpec("INT32", (-1, 2)), TensorSpec("BYTES", (-1,)), TensorSpec("FP32", (-1, 2))
SIGNATURE = Signature({"ids": IDS, "text": TEXT}, {"score": SCORE})
FREE = Signature({"ids": TensorSpec("INT32", (-1, -1))}, {})
WHOLE = Signature({"ids": TensorSpec("INT32", (2,)), "flag": TensorSpec("BOOL", (1,))}, {})
OPTIONAL = Signature({"ids": IDS, "text": TEXT}, {}, optional=frozenset({"text"}))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def bound(*texts: str, signature: Signature = SIGNATURE) -> Any:
    usual = DeclaredInputs(photo_source(NOISE, jpeg_quality=90))
    return input_source(texts, usual, jpeg_quality=90).bind(signature, 0)


def stored(*texts: str, signature: Signature = SIGNATURE) -> StoredInputs:
    found = bound(*texts, signature=signature)
    assert isinstance(found, StoredInputs)
    return found


def items(source: BoundSource, *numbers: int) -> dict[str, Any]:
    return {name: values.tolist() for name, values in source.batch(np.array(numbers)).items()}


def steps(*data: Any, **more: Any) -> None:
    Path("steps.json").write_text(json.dumps({"data": data, **more}))


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def test_arrays_fill_the_inputs_of_their_names() -> None:
    """Axis 0 of an array counts the items, which come again from the first; other arrays of the file are left alone."""
    np.savez("a.npz", ids=[[1, 2], [3, 4], [5, 6]], text=["a", "b", "c"], labels=[0, 1, 0])
    source = stored("a.npz")
    assert items(source, 1, 2, 3) == {"ids": [[3, 4], [5, 6], [1, 2]], "text": [b"b", b"c", b"a"]}
    assert (source.distinct, source.source, source.unit) == (3, "a.npz", "inferences")
    assert source.batch(np.arange(2))["ids"].dtype == np.int32


def test_a_source_may_fill_one_input() -> None:
    """NAME=SOURCE fills that input alone; the rest is made from the signature."""
    np.save("a.npy", [[1, 2], [3, 4]])
    source = stored("ids=a.npy")
    found = items(source, 0, 1, 2)
    assert found["ids"] == [[1, 2], [3, 4], [1, 2]]
    assert len(set(found["text"])) == 3
    assert items(bound("ids=zero", "text=zero"), 0) == {"ids": [[0, 0]], "text": [b""]}


def test_equal_sources_make_equal_items() -> None:
    """Endpoints that take the same are sent the same, read once: what differs in a value is another source."""
    np.savez("a.npz", ids=[[1, 2]], text=["a"])
    np.savez("b.npz", ids=[[1, 3]], text=["a"])
    assert bound("a.npz") == bound("a.npz")
    assert hash(bound("a.npz")) == hash(bound("a.npz"))
    assert bound("a.npz").inputs.parts != bound("b.npz").inputs.parts


FORMS = {
    "flat": ([1, 2], ["a"]),
    "content": ({"content": [1, 2]}, {"content": ["a"]}),
    "content and shape": ({"content": [1, 2], "shape": [2]}, {"content": ["a"], "shape": []}),
    "a 1 for the batch axis": ({"content": [1, 2], "shape": [1, 2]}, {"content": ["a"], "shape": [1]}),
    "b64": (b64(np.array([1, 2], "<i4").tobytes()), b64(b"\1\0\0\0a")),
    "b64 and shape": ({**b64(np.array([1, 2], "<i4").tobytes()), "shape": [2]}, b64(b"\1\0\0\0a")),
    "b64 as content": ({"content": b64(np.array([1, 2], "<i4").tobytes()), "shape": [2]}, ["a"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_tensor_is_read(form: str) -> None:
    """perf_analyzer's JSON has a tensor as a list, as content with a shape, or in base64: all are the same item."""
    ids, text = FORMS[form]
    steps({"ids": ids, "text": text, "model": "m"})
    assert items(stored("steps.json"), 0) == {"ids": [[1, 2]], "text": [b"a"]}


def test_requests_are_those_of_perf_analyzer() -> None:
    """Request k of N items has the steps from k x N on, around the end: as many distinct requests as there."""
    steps(*({"ids": [n, n], "text": [str(n)]} for n in range(5)))
    source = stored("steps.json")
    requests = {tuple(items(source, *range(k * 2, k * 2 + 2))["text"]) for k in range(20)}
    assert requests == {(b"0", b"1"), (b"2", b"3"), (b"4", b"0"), (b"1", b"2"), (b"3", b"4")}


def test_of_several_streams_the_first_is_sent() -> None:
    """A stream is a sequence; a model without sequences is sent the first one, as perf_analyzer does."""
    steps([{"ids": [1, 1], "text": ["a"]}, {"ids": [2, 2], "text": ["b"]}], [{"ids": [3, 3], "text": ["c"]}])
    assert stored("steps.json").distinct == 2


def test_the_steps_of_several_files_follow_each_other() -> None:
    """--input may be repeated for JSON files."""
    steps({"ids": [1, 1], "text": ["a"]})
    Path("more.json").write_text(Path("steps.json").read_text().replace("1", "2"))
    assert items(stored("steps.json", "more.json"), 0, 1)["ids"] == [[1, 1], [2, 2]]


def test_expected_outputs_go_with_their_step() -> None:
    """validation_data belongs to the step at its place, also where steps before it were skipped."""
    bad = {"ids": [1], "text": ["a"]}
    good = [{"ids": [n, n], "text": ["a"]} for n in range(2)]
    steps(bad, *good, validation_data=[{"score": [n, n]} for n in (9, 0, 1)])
    source = stored("steps.json")
    answers = source.answers(np.array([1, 0]))
    assert answers
    assert [answer["score"].tolist() for answer in answers] == [[1, 1], [0, 0]]
    assert answers[0]["score"].dtype == np.float32


def test_rows_that_do_not_fit_are_named_counted_and_skipped() -> None:
    """The others are sent; the first few have their number and reason."""
    row = {"ids": [1, 2], "text": ["a"]}
    steps(row, {**row, "ids": [1]}, {"ids": [1, 2]}, *[{**row, "text": [None]}] * 6, {**row, "ids": [3, 4]})
    source = stored("steps.json")
    assert source.distinct == 2
    (skipped,) = source.skipped
    assert str(skipped).startswith(
        "skipped 8 of 10 rows of steps.json: row 1: ids has shape [1], but an item has [2]; "
    )
    assert "; row 2: it has no text; row 3:" in str(skipped)
    assert str(skipped).endswith("and 3 more")


def test_items_of_other_shapes_go_alone() -> None:
    """With one item a request each has its own shape; with several those of the first shape are sent."""
    steps({"ids": [1, 2]}, {"ids": [3]}, {"ids": [4, 5]})
    source = stored("steps.json", signature=FREE)
    assert [items(source, n)["ids"] for n in range(3)] == [[[1, 2]], [[3]], [[4, 5]]]
    alike = source.alike()
    assert items(alike, 0, 1, 2)["ids"] == [[1, 2], [4, 5], [1, 2]]
    assert "row 1: its shapes are not those of row 0" in str(alike.skipped[0])


def test_an_optional_input_may_be_missing() -> None:
    """A step without it is sent without it."""
    steps({"ids": [1, 2]}, {"ids": [3, 4], "text": ["a"]})
    source = stored("steps.json", signature=OPTIONAL)
    assert [sorted(items(source, n)) for n in range(2)] == [["ids"], ["ids", "text"]]
    assert items(source.alike(), 0, 1) == {"ids": [[1, 2], [1, 2]]}


def test_a_folder_of_raw_files_is_one_item() -> None:
    """Each file has the name of an input; one of text has a string a line; that of an output is expected."""
    Path("raw").mkdir()
    Path("raw/ids").write_bytes(np.array([1, 2], "<i4").tobytes())
    Path("raw/text").write_text("hello\n")
    Path("raw/score").write_bytes(np.array([0.5, 1], "<f4").tobytes())
    source = stored("raw")
    assert items(source, 0) == {"ids": [[1, 2]], "text": [b"hello"]}
    assert (source.answers(np.array([0])) or [{}])[0]["score"].tolist() == [0.5, 1]


def test_a_signature_without_items_takes_whole_tensors() -> None:
    """Where there is no batch axis, a step has the shape that is declared."""
    steps({"ids": [1, 2], "flag": [True]}, {"ids": [3, 4], "flag": [False]})
    assert items(stored("steps.json", signature=WHOLE), 1) == {"ids": [[3, 4]], "flag": [[False]]}


def test_a_folder_of_images_goes_into_the_inputs_that_take_some(tmp_path: Path) -> None:
    """--input FOLDER and --images FOLDER are one: the photos fill images, and other inputs are made."""
    with pytest.raises(ConfigError, match="it is empty"):
        bound(str(tmp_path))


def image_files(*suffixes: str) -> list[bytes]:
    """A plain picture of its own colour in each format, of different sizes."""
    files = []
    for number, suffix in enumerate(suffixes):
        file = io.BytesIO()
        Image.new("RGB", (20 + number, 10), (40 * number, 100, 200)).save(file, suffix)
        files.append(file.getvalue())
    return files


@pytest.mark.parametrize("form", ["files", "structs", "raw pixels"])
def test_image_files_in_a_table_become_pixels(form: str) -> None:
    """A column of JPEG or PNG files, alone or beside a path, fills an input of pixels; rows of raw pixels still do."""
    files = image_files("png", "png")
    cells = {
        "files": files,
        "structs": [{"bytes": file, "path": "a"} for file in files],
        "raw pixels": [np.full((4, 6, 3), [40 * number, 100, 200], np.float32).tobytes() for number in range(2)],
    }
    parquet.write_table(pa.table({"images": [*cells[form], None]}), "a.parquet")
    signature = Signature({"images": TensorSpec("FP32", (-1, 4, 6, 3))}, {})
    source = bound("a.parquet", signature=signature)
    found = source.batch(np.arange(2))["images"]
    assert (found.dtype, found.shape, source.unit) == (np.float32, (2, 4, 6, 3), "images")
    assert found[:, 2, 3].tolist() == [[0, 100, 200], [40, 100, 200]]
    assert ("assumed 0 to 255" in source.encoding) is (form != "raw pixels")


def test_an_image_file_that_cannot_be_decoded_is_a_row_that_does_not_fit() -> None:
    """It is named with the others that are skipped, and the rest is sent."""
    (file,) = image_files("jpeg")
    parquet.write_table(pa.table({"images": [file[:90], file]}), "a.parquet")
    signature = Signature({"images": TensorSpec("UINT8", (-1, 4, 6, 3))}, {})
    found, skipped = bound("a.parquet", signature=signature).once(1, 9)
    assert len(found) == 1
    assert str(skipped) == "skipped 1 of 2 rows of a.parquet: row 0: its image file cannot be decoded"
