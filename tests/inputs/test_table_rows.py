"""Tables: rows become items, a part at a time, whatever file they come from."""

import base64
import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from raybench.config import ConfigError
from raybench.inputs.stored_items import skipped_in_all
from raybench.inputs.table_files import table_files
from raybench.inputs.table_inputs import TableInputs
from raybench.inputs.table_rows import RowReader, RowReport, requests
from raybench.inputs.wanted_values import Wanted
from raybench.models.saved_models import Signature, TensorSpec

IDS, TEXT = Wanted("ids", "INT32", (2,)), Wanted("text", "BYTES", ())
SIGNATURE = Signature({"ids": TensorSpec("INT32", (-1, 2)), "text": TensorSpec("BYTES", (-1,))}, {})
ROWS = [([1, 2], "a"), ([3, 4], "b"), ([5, 6], ""), ([7, 8], "d"), ([9, 10], "e")]
# Two Examples of TensorFlow's TFRecordWriter: a [0, 1.5], [1, 1.5]; n [0, 2^40], [-1, 2^40]; t x\0y.
OFFICIAL = (
    "NQAAAAAAAADWxV3mCjMKEQoBYRIMEgoKCAAAAAAAAMA/ChAKAW4SCxoJCgcAgICAgIAgCgwKAXQSBwoFCgN4AHlsAA0jPgAAAAAAAADZ0kDnCjwK"
    "EQoBYRIMEgoKCAAAgD8AAMA/ChkKAW4SFBoSChD///////////8BgICAgIAgCgwKAXQSBwoFCgN4AHmXJVdm"
)


def table() -> pa.Table:
    return pa.table({"ids": [ids for ids, _ in ROWS], "text": [text for _, text in ROWS], "other": range(5)})


def csv_text() -> str:
    return "text,ids\n" + "".join(f'"{text}","{ids}"\n' for ids, text in ROWS)


def lines() -> str:
    return "\n".join(json.dumps({"ids": ids, "text": text}) for ids, text in ROWS)


@pytest.fixture(params=["parquet", "csv", "jsonl", "jsonl.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same rows in a file of each kind."""
    file = tmp_path / f"rows.{request.param}"
    if request.param == "parquet":
        parquet.write_table(table(), file, row_group_size=2)
    elif request.param == "jsonl.gz":
        file.write_bytes(gzip.compress(lines().encode()))
    else:
        file.write_text(csv_text() if request.param == "csv" else lines())
    return str(file)


def reader(*paths: str, wanted: tuple[Wanted, ...] = (IDS, TEXT)) -> RowReader:
    found = table_files("rows", paths)
    assert found
    return RowReader(found, wanted)


def source(*paths: str) -> TableInputs:
    return TableInputs("rows", reader(*paths), (), SIGNATURE)


def read(rows: RowReader, items: int = 1) -> tuple[list[dict[str, Any]], str]:
    report = RowReport("rows")
    found = list(requests(rows.blocks(report), items, report))
    return [{name: values.tolist() for name, values in batch.items()} for batch in found], str(report.skipped())


def texts(batches: Iterator[Any] | list[Any]) -> list[list[bytes]]:
    return [batch["text"].tolist() for batch in batches]


def test_rows_are_read_from_every_kind_of_file(path: str) -> None:
    """Columns fill the inputs of their names; other columns are not read."""
    found, _ = read(reader(path))
    assert found == [{"ids": [ids], "text": [text.encode()]} for ids, text in ROWS]


def test_requests_hold_whole_rows_in_order(path: str) -> None:
    """Rows are cut into requests of one size across the blocks in which they are read."""
    found, _ = read(reader(path), items=2)
    assert [batch["ids"] for batch in found] == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


def test_what_is_read_before_the_start_holds_every_row(path: str) -> None:
    """The last request goes on with the first rows; no more are read than are asked for."""
    found, skipped = source(path).once(2, 100)
    assert texts(found) == [[b"a", b"b"], [b"", b"d"], [b"e", b"a"]]
    assert skipped.count == 0
    assert len(source(path).once(2, 1)[0]) == 1
    assert texts(source(path).once(5, 100)[0]) == [[b"a", b"b", b"", b"d", b"e"]]
    assert texts(source(path).once(7, 100)[0])[0][5:] == [b"a", b"b"]


def test_a_stream_goes_on_without_end(path: str) -> None:
    """The rows come again, across the end of the file, and every part of a stream has some."""
    stream = source(path).endless(2, 0, 1, RowReport("rows"))
    assert texts(islice(stream, 4)) == [[b"a", b"b"], [b"", b"d"], [b"e", b"a"], [b"b", b""]]
    for part in range(8):
        assert len(list(islice(source(path).endless(2, part, 8, RowReport("rows")), 3))) == 3


def test_workers_deal_the_rows_of_a_stream(path: str, tmp_path: Path) -> None:
    """No row of a pass is sent by two workers: each has files or row groups of its own, or blocks of all."""
    other = tmp_path / f"more{path[path.index('.', len(str(tmp_path))) :]}"
    other.write_bytes(Path(path).read_bytes())
    report = RowReport("rows")
    parts = [list(reader(path, str(other)).blocks(report, part, 2)) for part in range(2)]
    counts = [sum(len(block["text"]) for block in blocks) for blocks in parts]
    assert sum(counts) == 2 * len(ROWS)
    assert min(counts) > 0


def test_what_a_stream_skips_is_counted_once(tmp_path: Path) -> None:
    """However often the rows come again, and whoever of several workers has them."""
    columns = {"ids": [[1, 2], None, [3], [7, 8], [5, 6]], "text": ["a", "b", "c", "d", "e"]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=2)
    reports = [RowReport("rows"), RowReport("rows")]
    for part, report in enumerate(reports):
        list(islice(source(str(tmp_path / "a.parquet")).endless(1, part, 2, report), 20))
    skipped = skipped_in_all([report.skipped() for report in reports])
    assert skipped
    assert (skipped.count, skipped.total) == (2, 5)
    assert [example[:6] for example in skipped.examples] == ["row 1:", "row 2:"]
    assert skipped_in_all([]) is None


def test_rows_that_do_not_fit_are_named_and_skipped(tmp_path: Path) -> None:
    """Each has the number that it has in its file, and its reason."""
    columns = {"ids": [[1, 2], None, [3], [2**31, 0], [5, 6]], "text": ["a", "b", "c", "d", None]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=2)
    found, skipped = read(reader(str(tmp_path / "a.parquet")))
    assert [batch["text"] for batch in found] == [[b"a"]]
    assert skipped == (
        "skipped 4 of 5 rows of rows: row 1: ids is null; row 2: ids has shape [1], but an item has [2]; "
        "row 3: ids has 2147483648, which INT32 does not hold; row 4: text is null"
    )


def test_lines_that_are_no_rows_are_named_and_skipped(tmp_path: Path) -> None:
    """A line that is no JSON, or has no such key, costs no other line."""
    good = json.dumps({"ids": [1, 2], "text": "a"})
    (tmp_path / "a.jsonl").write_text(f'{good}\n{{"ids": [1\n[1]\n\n{{"ids": [1, 2]}}\n{good}')
    found, skipped = read(reader(str(tmp_path / "a.jsonl")))
    assert len(found) == 2
    reasons = ("row 1: it is not JSON (", "row 2: it is not a JSON object", "row 3: it has no text")
    assert all(reason in skipped for reason in reasons), skipped


def test_cells_of_a_csv_are_read_as_the_input_takes_them(tmp_path: Path) -> None:
    """A column of digits is text for an input that takes text, and a number for one that takes numbers."""
    (tmp_path / "a.csv").write_text("x,text,flag\n1,1,true\n2.5,02,False\nnan,,true\nten,x,true\n,y,true\n")
    wanted = (Wanted("x", "FP32", (1,)), Wanted("text", "BYTES", ()), Wanted("flag", "BOOL", ()))
    found, skipped = read(reader(str(tmp_path / "a.csv"), wanted=wanted))
    assert [batch["x"][0][0] for batch in found[:2]] == [1, 2.5]
    assert [batch["text"] for batch in found[:2]] == [[b"1"], [b"02"]]
    assert [batch["flag"] for batch in found[:2]] == [[True], [False]]
    assert "row 3: x has 'ten', but it takes FP32; row 4: x is null" in skipped


def test_tensorflow_records_are_read_without_tensorflow(tmp_path: Path) -> None:
    """Features of a file that TensorFlow wrote: floats, integers below 0 and beyond 32 bits, bytes with a NUL."""
    (tmp_path / "a.tfrecord").write_bytes(base64.b64decode(OFFICIAL))
    wanted = (Wanted("a", "FP32", (2,)), Wanted("n", "INT64", (2,)), Wanted("t", "BYTES", ()))
    found, _ = read(reader(str(tmp_path / "a.tfrecord"), wanted=wanted))
    assert found == [
        {"a": [[0.0, 1.5]], "n": [[0, 2**40]], "t": [b"x\0y"]},
        {"a": [[1.0, 1.5]], "n": [[-1, 2**40]], "t": [b"x\0y"]},
    ]


def test_a_record_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    """Half a file is never taken for all of it."""
    (tmp_path / "a.tfrecord").write_bytes(base64.b64decode(OFFICIAL)[:-5])
    wanted = (Wanted("t", "BYTES", ()),)
    with pytest.raises(ConfigError, match="cut off"):
        read(reader(str(tmp_path / "a.tfrecord"), wanted=wanted))


RAW = np.array([[1, 2], [3, 4]], "<i4")
COLUMNS = {
    "lists": pa.array(RAW.tolist(), pa.list_(pa.int64())),
    "large lists": pa.array(RAW.tolist(), pa.large_list(pa.int32())),
    "fixed lists": pa.array(RAW.tolist(), pa.list_(pa.int16(), 2)),
    "whole floats": pa.array(RAW.tolist(), pa.list_(pa.float64())),
    "raw bytes": pa.array([row.tobytes() for row in RAW], pa.binary()),
    "large raw bytes": pa.array([row.tobytes() for row in RAW], pa.large_binary()),
    "fixed raw bytes": pa.array([row.tobytes() for row in RAW], pa.binary(8)),
    "tensors": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(RAW)),
    "a dictionary": pa.array([row.tobytes() for row in RAW], pa.binary()).dictionary_encode(),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_any_type_become_what_the_input_takes(name: str, tmp_path: Path) -> None:
    """Numbers in lists, tensors or raw bytes are one: the input's type and shape decide."""
    parquet.write_table(pa.table({"ids": COLUMNS[name]}), tmp_path / "a.parquet")
    found, skipped = read(reader(str(tmp_path / "a.parquet"), wanted=(IDS,)), items=2)
    assert found == [{"ids": RAW.tolist()}], skipped


def test_rows_of_other_shapes_go_alone(tmp_path: Path) -> None:
    """With one item a request each has its own shape; with several those of the first shape are sent."""
    (tmp_path / "a.jsonl").write_text('{"ids": [1, 2]}\n{"ids": [3]}\n{"ids": [4, 5]}\n')
    rows = reader(str(tmp_path / "a.jsonl"), wanted=(Wanted("ids", "INT32", (-1,)),))
    assert [batch["ids"] for batch in read(rows)[0]] == [[[1, 2]], [[3]], [[4, 5]]]
    found, skipped = read(rows, items=2)
    assert [batch["ids"] for batch in found] == [[[1, 2], [4, 5]]]
    assert "skipped 1 of 3 rows" in skipped
