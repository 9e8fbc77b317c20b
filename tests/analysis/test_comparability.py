"""Are servers that are compared alike: what each really runs, and the doubt where it differs."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from helpers import rated
from record_builders import effective, load, server_facts
from tritonclient.grpc import model_config_pb2

from raybench.analysis import trial_summary
from raybench.analysis.doubt import Doubt
from raybench.analysis.doubts import comparability, with_doubts
from raybench.analysis.latency import latency_of
from raybench.telemetry.effective_config import (
    BackendFacts,
    EffectiveConfig,
    TensorflowFacts,
    of_local,
    of_tfserving,
    of_triton,
)

MODEL: Any = {"precision": "float32", "xla": False}
ABOUT = BackendFacts(tensorflow="2.21.0", inter_op_threads=2, intra_op_threads=2, merges=False, xla=True)


def running(label: str, *, in_flight: int = 4, round: int = 1, **changes: Any) -> trial_summary.TrialSummary:
    """A trial of a server that really runs this."""
    kind = label.split()[0]
    server = server_facts(kind, effective=effective(kind, **changes))
    found = rated(label, round, 100.0, server=server, load=load(in_flight=in_flight))
    return replace(found, service_ms=latency_of(np.arange(1, in_flight + 1) * 1_000_000))


def doubted(*trials: trial_summary.TrialSummary, baseline: str | None = None) -> list[list[Doubt]]:
    """Of each trial, the doubts that servers are unlike."""
    found = with_doubts(trials, baseline=baseline)
    return [[doubt for doubt in trial.doubts if doubt.code == "unequal_servers"] for trial in found]


def test_equal_servers_are_not_doubted() -> None:
    """Triton with one instance runs as many executions at a time as TensorFlow in process: that is no doubt."""
    assert doubted(running("local", in_flight=1), running("triton x1")) == [[], []]


def test_what_is_not_known_is_not_doubted() -> None:
    """A server that does not say what it runs is not doubted for it."""
    unknown = dict.fromkeys(asdict(effective("triton")))
    assert comparability.unequal_servers(running("triton x1", **unknown), running("local", in_flight=1)) is None
    foreign = rated("triton x1", 1, 100.0, server=server_facts("triton", config=None, effective=None))
    assert comparability.unequal_servers(foreign, running("local", in_flight=1)) is None


def test_unequal_executions_are_doubted() -> None:
    """A server that computes more requests at a time than the one it is compared with is doubted, with both numbers."""
    busy = running("triton", executions_at_once=16, in_flight=4)
    busy = replace(busy, server=replace(busy.server, instances=None))
    _, (doubt,) = doubted(running("triton x1"), busy, baseline="triton x1")
    assert doubt.sentence == "not set up like triton x1: 4 against 1 executions at a time"
    assert (doubt.value, doubt.limit) == (4, 1)


def test_no_more_is_computed_than_is_in_flight() -> None:
    """16 threads that wait for one request in flight compute one: that is equal."""
    idle = running("triton", executions_at_once=16, in_flight=1)
    assert comparability.executions(idle) == 1
    assert comparability.unequal_servers(idle, running("local", in_flight=1)) is None


def test_instances_that_were_asked_for_are_not_doubted() -> None:
    """`--instances 1,2` compares one with two: the labels say so already."""
    asked = [running(f"triton x{n}", executions_at_once=n) for n in (1, 2)]
    one, two = (replace(t, server=replace(t.server, instances=n)) for n, t in enumerate(asked, 1))
    assert comparability.unequal_servers(two, one) is None
    assert comparability.unequal_servers(two, running("local", in_flight=1)) is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tensorflow": "2.13.0"}, "not set up like local: TensorFlow 2.13.0 against 2.21.0"),
        ({"precision": "mixed_float16"}, "not set up like local: precision mixed_float16 against float32"),
        ({"xla": True}, "not set up like local: XLA on against off"),
        ({"intra_op_threads": 1}, "not set up like local: 1 against 4 threads per operation"),
        ({"response_cache": True}, "not set up like local: response cache on against off"),
        (
            {"tensorflow": "2.13.0", "xla": True},
            "not set up like local: TensorFlow 2.13.0 against 2.21.0, XLA on against off",
        ),
    ],
)
def test_other_differences_are_doubted(changes: dict[str, Any], said: str) -> None:
    """Servers that compute with another TensorFlow, precision, compiler, cache or number of threads are doubted."""
    doubt = comparability.unequal_servers(running("triton x1", **changes), running("local", in_flight=1))
    assert doubt.sentence.startswith(said)
    assert (doubt.value, doubt.limit) == (None, None)


def test_memory_against_a_network_is_doubted() -> None:
    """Servers that are reached in different ways are doubted, but not a server in process."""
    grpc, local = running("triton x1"), running("local", in_flight=1)
    shared = replace(running("triton x2"), load=load(transport="shared memory", in_flight=4))
    inside = replace(local, load=replace(local.load, transport="in process"))
    doubt = comparability.unequal_servers(shared, grpc)
    assert doubt.sentence == "not set up like triton x1: reached by shared memory against grpc"
    assert comparability.unequal_servers(shared, inside) is None
    assert comparability.unequal_servers(grpc, inside) is None


def test_memory_of_a_gpu_is_doubted_against_that_of_the_host() -> None:
    """Inputs on a GPU are a transport of their own, over whichever protocol the rest of a request goes."""
    host = replace(running("triton x1"), load=load(transport="shared memory", in_flight=4))
    device = replace(running("triton x2"), load=load(transport="cuda shared memory", in_flight=4))
    over_http = replace(device, load=replace(device.load, protocol="http"))
    said = comparability.unequal_servers(device, host).sentence
    assert said == "not set up like triton x1: reached by cuda shared memory against shared memory"
    said = comparability.unequal_servers(over_http, device).sentence
    assert said.endswith("reached by http with cuda shared memory against cuda shared memory")


def test_the_doubt_stands_with_the_row_that_is_compared() -> None:
    """The baseline is not doubted for what another does; nor is who is compared with nobody."""
    other = running("triton x1", tensorflow="2.13.0")
    local, triton = doubted(running("local", in_flight=1), other)
    assert (local, len(triton)) == ([], 1)
    assert doubted(other) == [[]]


def config(**changes: Any) -> Any:
    groups = [model_config_pb2.ModelInstanceGroup(**each) for each in changes.pop("groups", [{"count": 1}])]
    return model_config_pb2.ModelConfig(instance_group=groups, **changes)


@pytest.mark.parametrize(
    ("groups", "at_once"), [([{"count": 1}], 1), ([{"count": 2}, {"count": 3}], 5), ([{"count": 2, "gpus": [0, 1]}], 4)]
)
def test_tritons_instances_are_its_executions(groups: list[dict[str, Any]], at_once: int) -> None:
    """Triton runs one execution at a time in each instance, of which it has `count` on each GPU of a group."""
    assert of_triton(config(groups=groups), BackendFacts(), **MODEL).executions_at_once == at_once


def test_what_the_backend_says_goes_before_what_is_configured() -> None:
    """The backend knows whether it merges a model and whether XLA compiles it; of others the config alone is known."""
    batching = config(dynamic_batching={}, response_cache={"enable": True})
    ours, other = of_triton(batching, ABOUT, **MODEL), of_triton(batching, BackendFacts(), **MODEL)
    assert (ours.merges, ours.xla, ours.tensorflow, ours.intra_op_threads) == (False, True, "2.21.0", 2)
    assert (other.merges, other.xla, other.tensorflow, other.intra_op_threads) == (True, False, None, None)
    assert ours.response_cache is other.response_cache is True
    assert of_triton(None, BackendFacts(), **MODEL) == EffectiveConfig(**MODEL)


def test_tensorflow_in_process_runs_one_at_a_time() -> None:
    """TensorFlow in process computes one request at a time, merges none and keeps none."""
    found = of_local(TensorflowFacts(tensorflow="2.21.0", inter_op_threads=2, intra_op_threads=2), **MODEL)
    assert (found.executions_at_once, found.merges, found.response_cache, found.tensorflow) == (
        1,
        False,
        False,
        "2.21.0",
    )


@pytest.mark.parametrize(
    ("flags", "at_once", "merges"),
    [
        ({}, 30, False),
        ({"--grpc_max_threads": "1000"}, 998, False),
        ({"--grpc_max_threads": "2"}, 1, False),
        ({"enable_batching": "true"}, None, True),
        ({"batching_parameters_file": "batching.txt"}, None, True),
        (None, None, None),
    ],
)
def test_tf_serving_is_known_by_its_flags(
    flags: dict[str, str] | None, at_once: int | None, merges: bool | None
) -> None:
    """TensorFlow Serving runs a request in each gRPC thread but its two pollers, 4 for each CPU by default, unless it
    makes batches; what it finds no thread for is refused, and does not wait."""
    found = of_tfserving(flags, **MODEL, cpus=8, protocol="grpc")
    assert (found.executions_at_once, found.merges) == (at_once, merges)


@pytest.mark.parametrize(
    ("flags", "at_once"),
    [
        ({"grpc_max_threads": "1000"}, 32),
        ({"grpc_max_threads": "1000", "rest_api_num_threads": "64"}, 64),
        ({"enable_batching": "true"}, None),
    ],
)
@pytest.mark.parametrize("protocol", ["http", "http-json", "http-columns"])
def test_tf_serving_has_threads_of_its_own_for_rest(protocol: str, flags: dict[str, str], at_once: int | None) -> None:
    """By any REST protocol as many requests run at once as TensorFlow Serving has REST threads, whatever gRPC has."""
    assert of_tfserving(flags, **MODEL, cpus=8, protocol=protocol).executions_at_once == at_once
