"""Records of requests and what is derived from them alone: service, response and lag."""

import pyarrow as pa
import pytest
from helpers import MS, lanes, sample

from raybench.results import samples


def test_a_sample_survives_its_table() -> None:
    """A row of the table holds exactly what was observed of a request, unknowns as null."""
    seen = [sample(1, 2), sample(3, 5, due_ms=2.5, worker=2, status="UNAVAILABLE", error="gone", items=8)]
    assert samples.table(seen).to_pylist() == [each._asdict() for each in seen]


def test_no_samples_are_a_table_too() -> None:
    """A trial without requests has a table of the same schema, not an exception."""
    assert samples.table([]).schema == samples.merge([]).schema == samples.SCHEMA
    assert len(samples.merge([samples.table([])])) == 0


def test_merging_is_concatenation() -> None:
    """Chunks of several workers become one table that holds every row of each, labels kept apart."""
    chunks = [[sample(0, 1), sample(1, 2, status="INTERNAL", error="x")], [], [sample(5, 6, worker=1, phase="warmup")]]
    merged = samples.merge([samples.table(chunk) for chunk in chunks])
    assert merged.to_pylist() == [each._asdict() for chunk in chunks for each in chunk]


def test_warm_up_is_kept_apart() -> None:
    """Warm-up requests are on record and never among the measured ones."""
    rows = samples.table([sample(0, 1, phase=samples.WARMUP), sample(1, 2, seq=7)])
    assert samples.measured(rows)["seq"].to_pylist() == [7]


def test_phases_are_told_apart_wherever_they_stand() -> None:
    """A phase is all of its rows, in their order, whether they stand together or others between them."""
    phases = ["warmup", "measured", "ceiling", "measured", "measured", "ceiling"]
    rows = samples.merge([samples.table([sample(0, 1, seq=s, phase=name)]) for s, name in enumerate(phases)])
    assert samples.measured(rows)["seq"].to_pylist() == [1, 3, 4]
    assert samples.measured(rows.slice(3))["seq"].to_pylist() == [3, 4]
    assert samples.ceiling(rows)["seq"].to_pylist() == [2, 5]
    assert samples.ceiling(samples.measured(rows))["seq"].to_pylist() == []


def test_only_ok_is_success() -> None:
    """A request succeeded only if its status is OK."""
    rows = samples.table([sample(0, 1, seq=s, status=name) for s, name in enumerate(["OK", "UNKNOWN", "UNAVAILABLE"])])
    assert samples.succeeded(rows)["seq"].to_pylist() == [0]
    assert samples.is_ok(rows).tolist() == [True, False, False]


def test_service_response_and_lag() -> None:
    """Service is done - sent, response done - due, lag sent - due."""
    rows = samples.table([sample(12, 20, due_ms=10), sample(30, 31, due_ms=30)])
    assert samples.service_ns(rows).tolist() == [8 * MS, 1 * MS]
    assert samples.response_ns(rows).tolist() == [10 * MS, 1 * MS]
    assert samples.lag_ns(rows).tolist() == [2 * MS, 0]


@pytest.mark.parametrize("rows", [lanes([(0, 1), (1, 2)]), samples.SCHEMA.empty_table()], ids=["closed", "empty"])
def test_closed_loop_has_neither_response_nor_lag(rows: pa.Table) -> None:
    """Where nothing was due, response and lag are unknown, not zero."""
    assert samples.response_ns(rows) is None
    assert samples.lag_ns(rows) is None


def test_workers_stamps_come_onto_one_clock() -> None:
    """A worker whose clock is ahead is moved back by its offset: requests at the same time look so."""
    rows = samples.table([sample(0, 10), sample(5000, 5010, worker=1)])
    same = samples.on_one_clock(rows, {0: 0, 1: 5000 * MS})
    assert same["sent_ns"].to_pylist() == [0, 0]
    assert same["done_ns"].to_pylist() == [10 * MS, 10 * MS]
    assert same["due_ns"].null_count == 2
    assert same.schema == samples.SCHEMA


@pytest.mark.parametrize("name", [each for each in samples.SCHEMA.names if each not in ("due_ns", "error")])
def test_samples_with_holes_are_refused(name: str) -> None:
    """What is known of every request is there for every one: a hole would be computed with as a number."""
    holed = with_hole(lanes([(0, 10), (10, 20)]), name)
    with pytest.raises(ValueError, match=f"{name} is missing in 1 of 2 samples"):
        samples.on_one_clock(holed, {})


def test_an_open_loop_has_a_due_time_for_every_request() -> None:
    """Due times are there for all requests of a phase, or for none."""
    rows = samples.table([sample(0, 1, due_ms=0), sample(1, 2, due_ms=1)])
    assert samples.on_one_clock(rows, {}).equals(rows)
    with pytest.raises(ValueError, match="due_ns is missing in 1 of 2 samples"):
        samples.on_one_clock(with_hole(rows, "due_ns"), {})


def with_hole(rows: pa.Table, name: str) -> pa.Table:
    """Samples without the last value of a column."""
    index = rows.schema.get_field_index(name)
    kept = [*rows[name].to_pylist()[:-1], None]
    return rows.set_column(index, rows.schema.field(index), pa.array(kept, rows.schema.field(index).type))
