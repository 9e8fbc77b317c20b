"""Records as JSON and back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from record_builders import load, model_verification, record, server_facts, statistics, worker_facts

from raybench.results import ResultsError
from raybench.results.json_records import from_json, to_json
from raybench.results.records import ConversionCost, ProblemRecord, TelemetryRecord, TrialRecord, VerificationRecord

ENCODED = ConversionCost(items=8, body_bytes=1000, cpu_s=0.5)
WHOLE = record(
    server=server_facts("triton", config={"instances": 2, "batching": True, "share": 0.5, "file": None}),
    load=load(concurrency=None, offered_rps=7.5),
    workers=(worker_facts(0, encoded=ENCODED), worker_facts(1, cpu_s=None, lost="its actor died")),
    server_statistics=statistics(executions=1, batches={2: 1}),
    telemetry=TelemetryRecord(
        node=None, gpu_source="nvidia-smi", problems=(ProblemRecord(time_ns=7, source="nvidia-smi", text="it ended"),)
    ),
    verification=VerificationRecord(agrees=True, models=(model_verification(),)),
)


def read_back(change: Callable[[dict[str, Any]], object] = lambda _: None) -> TrialRecord:
    """A record written, changed on disk, and read."""
    there = json.loads(json.dumps(to_json(WHOLE)))
    change(there)
    return from_json(there, "trials/r1.json")


def test_a_record_comes_back_whole() -> None:
    """What is written of a trial is what is read: every part, with the types that it had."""
    assert read_back() == WHOLE
    assert isinstance(read_back(lambda there: there["load"].update(timeout_s=60)).load.timeout_s, float)


def test_what_an_older_folder_does_not_have_is_not_known() -> None:
    """A field that is null unless something is known may be missing: a folder from before there was such a thing."""
    for name in ("host_load", "encoded", "decoded"):
        assert read_back(lambda there, name=name: there["workers"][1].pop(name)) == WHOLE
    assert read_back(lambda there: there.pop("verification")).verification is None


def test_what_is_written_no_more_is_read_past() -> None:
    """A folder with a field that raybench has given up is whole, and loses nothing but that."""
    assert read_back(lambda there: there["verification"]["models"][0].update(unclear=0.025)) == WHOLE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda there: there.pop("label"), "field label is missing"),
        (lambda there: there["workers"][1].pop("pid"), r"field workers\[1\].pid is missing"),
        (lambda there: there["load"].update(speed=1), "field load.speed is unknown"),
        (lambda there: there.update(round="1"), "field round is '1', which is not a whole number"),
        (lambda there: there.update(round=True), "field round is True, which is not a whole number"),
        (lambda there: there.update(workers={}), "field workers is {}, which is not a list"),
        (lambda there: there.update(server=None), "field server is None, which is not an object"),
        (
            lambda there: there["server"].update(config={"a": []}),
            r"field server.config.a is \[\], which is not a string",
        ),
        (lambda there: there.update(item_hashes={"x": []}), "field item_hashes has the key 'x'"),
    ],
)
def test_a_wrong_field_is_named(change: Callable[[dict[str, Any]], object], said: str) -> None:
    """A record that lacks a field, has another or one of another type is refused by the names of file and field."""
    with pytest.raises(ResultsError, match=rf"^trials/r1.json: {said}"):
        read_back(change)
