"""Requests share a TensorFlow call only where that is proven, or somebody has decided it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import backend_module
from merging_models import EXPECTED, write_merging_models

from raybench.models.saved_models import ModelConfig

merging, merge_proof, probe_rows = (backend_module(name) for name in ("merging", "merge_proof", "probe_rows"))
loaded_models, dynamic_batching = backend_module("loaded_models"), backend_module("dynamic_batching")
ROWS = [0.5, -2.0, 3.0, 7.0]
LIMITS = merge_proof.Limits(max_items=64, rounding=2.0**-23)


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The signatures of `rows`, loaded and decided."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("merging")
    write_merging_models(folder)
    loaded = loaded_models.LoadedModels(tf, [ModelConfig(name="rows", base_path=folder / "rows")])
    decide(loaded, merging.MergeRules({}))
    return loaded


def decide(loaded: Any, rules: Any, max_items: int = 64) -> None:
    import tensorflow as tf

    executor = backend_module("tensorflow_executor").Executor(tf)
    decision = merging.MergeDecision(tf, executor, rules=rules, max_items=max_items, merge_xla=False)
    decision.decide(loaded)


@pytest.mark.parametrize(("signature", "reason"), EXPECTED.items())
def test_only_rows_that_do_not_depend_on_each_other_merge(decided: Any, signature: str, reason: str) -> None:
    """Nobody's answer depends on a stranger's request: what merges has proven it, what does not says why."""
    key = dynamic_batching.SignatureKey("rows", 1, signature)
    assert (key in decided.batchable) == (reason == "")
    assert reason in decided.unmerged.get(key, "")


def test_asking_changes_nothing(decided: Any) -> None:
    """What keeps state between calls is recognized without being called."""
    counter = decided.functions[dynamic_batching.SignatureKey("rows", 1, "counter")]
    assert counter(x=np.zeros((1, 3), np.float32))["y"].numpy().tolist() == [1.0]


def test_somebody_may_decide(decided: Any, tmp_path: Path) -> None:
    """A rule merges what is not proven, and keeps apart what is; the parameter goes before the file."""
    (tmp_path / "merge.conf").write_text("# ours\nrows never\nrows/softmax always  # it is one request\n")
    rules = merging.MergeRules.read(tmp_path / "models.conf", "rows/photo always, rows/free never")
    there = SimpleNamespace(**{**vars(decided), "batchable": set(), "unmerged": {}})
    decide(there, rules)
    assert {key.signature for key in there.batchable} == {"softmax", "photo"}
    assert rules.unknown(there.signatures) == []


def test_without_a_file_everything_is_to_be_proven(tmp_path: Path) -> None:
    """A models.conf alone, as TensorFlow Serving takes it, decides nothing."""
    assert merging.MergeRules.read(tmp_path / "models.conf", "").rules == {}


@pytest.mark.parametrize("rule", ["rows", "rows maybe", "rows never always"])
def test_a_rule_that_cannot_be_read_is_refused(rule: str, tmp_path: Path) -> None:
    """A rule with a slip is no rule: the sentence names the file, the rule and the words that there are."""
    (tmp_path / "merge.conf").write_text(rule)
    with pytest.raises(ValueError, match=r"merge.conf: 'rows.*write MODEL or MODEL/SIGNATURE, then always or never"):
        merging.MergeRules.read(tmp_path / "models.conf", "")


def test_a_rule_for_nothing_is_named() -> None:
    """A rule whose name nothing has would be thought to hold."""
    key = dynamic_batching.SignatureKey("rows", 1, "free")
    assert merging.MergeRules({"rows": "never", "row": "never", "rows/fre": "never"}).unknown([key]) == [
        "row",
        "rows/fre",
    ]


def prove(function: Any, rows: list[float] = ROWS, limits: Any = LIMITS, clock: Any = None) -> None:
    def call(asked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": function(asked["x"])}

    candidates = probe_rows.Candidates({"x": np.array(rows, np.float32)}, None)
    merge_proof.prove(call, candidates, limits, *([clock] if clock else []))


@pytest.mark.parametrize("rounding", [2.0**-23, 2.0**-10, 2.0**-7])
def test_last_bits_may_depend_on_the_size_of_a_call(rounding: float) -> None:
    """A real model's answers differ by roundings where a call has more rows: by more in a coarser type."""
    limits = merge_proof.Limits(64, rounding)
    prove(lambda x: x * np.float32(1 + 3 * rounding * len(x) / 64), limits=limits)
    with pytest.raises(merge_proof.NotProven, match="together"):
        prove(lambda x: x * np.float32(1 + 4 * rounding**0.5 * len(x) / 4), limits=limits)


def test_answers_that_change_from_call_to_call_do_not_merge() -> None:
    """State that no operation shows is seen by asking again."""
    calls: list[int] = []

    def function(x: np.ndarray) -> np.ndarray:
        calls.append(len(x))
        return x + (1e-3 if len(calls) > 10 else 0)

    with pytest.raises(merge_proof.NotProven, match="when it is sent again"):
        prove(function)


def test_rows_that_are_refused_prove_nothing() -> None:
    """Where hardly a row is legal there is no proof, and what TensorFlow said is kept."""

    def function(x: np.ndarray) -> np.ndarray:
        if (x < 5).any():
            raise ValueError("x is too small")
        return x

    with pytest.raises(merge_proof.NotLegal, match="too small"):
        prove(function)


def test_asking_ends() -> None:
    """A model that takes long to answer does not keep Triton from getting ready."""
    times = iter(range(0, 10_000, 20))
    with pytest.raises(merge_proof.NotProven, match="took more than 60 s"):
        prove(lambda x: x, clock=lambda: next(times))


def test_slow_rows_are_asked_for_seldom() -> None:
    """A model of half a second a row gets a proof of some 30 rows, a fast one asks for the largest call."""
    sizes: list[int] = []
    time_s = 0.0

    def function(x: np.ndarray) -> np.ndarray:
        nonlocal time_s
        time_s += len(x) * row_s
        sizes.append(len(x))
        return x

    row_s = 0.5
    prove(function, clock=lambda: time_s)
    assert (max(sizes), sum(sizes)) == (8, 29)
    row_s = 0.0
    prove(function, clock=lambda: time_s)
    assert max(sizes) == 64
