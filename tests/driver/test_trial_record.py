"""The record of a trial, from what its workers say."""

from typing import Any

import pytest
from record_builders import worker_facts

from raybench.driver import trial_record
from raybench.driver.trial_record import with_decoded
from raybench.results.records import ConversionCost

COST = ConversionCost(items=8, body_bytes=80, cpu_s=0.001)


def test_each_worker_has_its_own_cost_of_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What decoding cost is noted for the worker that says so; that of a silent or lost one is not known."""
    asked: list[Any] = []
    monkeypatch.setattr(trial_record, "call_all", lambda left, *_: asked.append(left) or {2: COST, 0: None})
    left = {0: "actor 0", 1: "actor 1", 2: "actor 2"}
    found = with_decoded(tuple(worker_facts(number) for number in range(4)), left)
    assert [each.decoded for each in found] == [None, None, COST, None]
    assert asked == [left]
