"""Benchmark: what a user may ask for; what is said where it is wrong is in test_bad_input."""

import os
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from raybench.config import LOAD_SETTINGS, Benchmark, ConfigError, ServerSpec, load


def written(folder: Path, text: str) -> Path:
    path = folder / "nightly.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("cores", "workers", "lanes"), [(1, 1, 4), (2, 1, 4), (3, 2, 2), (4, 2, 2), (5, 4, 1), (64, 4, 1)]
)
def test_four_are_in_flight_and_a_core_is_free(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, lanes: int
) -> None:
    """With nothing given 4 requests are in flight, from so many workers that one core is left; a flag is as it says."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    found = [
        (each.workers, each.concurrency)
        for flags in ({}, {"workers": 8}, {"concurrency": 3})
        for each in load(None, flags).loads
    ]
    assert found == [(workers, lanes), (8, 1), (workers, 3)]


def test_without_yaml_and_flags_there_is_a_benchmark() -> None:
    """With nothing given, requests go to TensorFlow in process and to one Triton instance for 10 s each."""
    benchmark = load(None, {})
    (only,) = benchmark.loads
    assert [server.label for server in benchmark.servers] == ["local", "triton x1"]
    assert (only.in_flight, only.items) == (4, 8)
    assert (only.request_count, only.duration) == (None, 10)


def test_a_flag_overrides_the_yaml(tmp_path: Path) -> None:
    """A flag that is given wins over the YAML, and the YAML over the default."""
    path = written(tmp_path, "workers: 2\nbatch-size: 16\nmodel: resnet50-no-opt\n")
    (only,) = load(path, {"workers": 3, "model": ("a", "b"), "batch_size": None, "server": (), "url": {}}).loads
    assert (only.workers, only.batch_size, only.concurrency) == (3, 16, 1)
    assert only.model == ("a", "b")


@pytest.mark.parametrize(("name", "yaml", "flag"), [("seed", "5", 0), ("max_error_rate", "0.5", 0.0)])
def test_a_flag_of_zero_overrides_too(tmp_path: Path, name: str, yaml: str, flag: float) -> None:
    """A flag of 0 is a value: it overrides the YAML as any other."""
    assert getattr(load(written(tmp_path, f"{name}: {yaml}"), {name: flag}), name) == 0


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("model: a", "model", ("a",)),
        ("instances: 2", "instances", (2,)),
        ("server: fake", "server", ("fake",)),
        ("instances: [1, 2]", "instances", (1, 2)),
        ("timeout: 5", "timeout", 5.0),
        ("request-rate: 5", "request_rate", (5.0,)),
        ("duration: null", "duration", 10.0),
        ("warmup_request_count: 0", "warmup_request_count", 0),
        ("url: {triton: 'h:1'}", "url", {"triton": "h:1"}),
    ],
)
def test_yaml_values_take_the_type_of_their_field(tmp_path: Path, text: str, name: str, value: object) -> None:
    """In the YAML a single value stands for a list of one, a whole number for a float, and both spellings for a key."""
    benchmark = load(written(tmp_path, text), {})
    found = getattr(benchmark.loads[0] if name in LOAD_SETTINGS else benchmark, name)
    assert found == value
    assert type(found) is type(value)


def test_a_duration_takes_the_place_of_the_default_count() -> None:
    """A trial has one length: where a duration is given, no number of requests bounds it."""
    assert load(None, {"duration": 5.0}).loads[0].request_count is None


def test_a_run_is_named_after_its_file(tmp_path: Path) -> None:
    """The results folder of a YAML without a name bears the file's; a name that is given wins."""
    assert load(written(tmp_path, "workers: 1"), {}).name == "nightly"
    assert load(written(tmp_path, "name: release"), {}).name == "release"
    assert load(written(tmp_path, "workers: 1"), {"name": "flag"}).name == "flag"


def test_each_number_of_instances_is_a_server_of_its_own() -> None:
    """--instances 1,2 puts two Tritons into the table; the other servers stay one."""
    servers = load(None, {"instances": (1, 2)}).servers
    assert [server.label for server in servers] == ["local", "triton x1", "triton x2"]


def test_each_script_of_the_fake_is_a_server_of_its_own() -> None:
    """`fake=A; B` are two scripted servers with numbers for names; one alone is `fake`."""
    two = load(None, {"server": ("fake",), "url": {"fake": "service_ms=1; service_ms=1"}})
    assert [(server.label, server.url) for server in two.servers] == [
        ("fake 1", "service_ms=1"),
        ("fake 2", "service_ms=1"),
    ]
    one = load(None, {"url": {"fake": "service_ms=1"}, "server": ("fake",)})
    assert [server.label for server in one.servers] == ["fake"]


@pytest.mark.parametrize("baseline", ["triton", "triton x2", "local", None])
def test_a_baseline_is_a_server_of_the_run(baseline: str | None) -> None:
    """The baseline is a row's server or its kind."""
    found = load(None, {"instances": (1, 2), "baseline": baseline})
    assert found.baseline == baseline


def test_a_baseline_may_be_over_shared_memory() -> None:
    """A row's server is named as in the table, where shared memory stands with it."""
    shared = {"server": ("triton",), "shared_memory": "system", "baseline": "triton x1 (shared memory)"}
    assert load(None, shared).baseline == shared["baseline"]
    with pytest.raises(ConfigError, match=r"choose a server of this run: triton x1 \(shared memory\)"):
        load(None, {**shared, "baseline": "triton x1"})


@pytest.mark.parametrize("baseline", ["tfserving", "triton x3", "", "Local"])
def test_a_baseline_that_is_not_there_is_refused(baseline: str) -> None:
    """Who asks to compare with a server that is not in the run is told which are."""
    with pytest.raises(ConfigError, match=r"baseline is .*; choose a server of this run: local, triton x1, triton x2"):
        load(None, {"instances": (1, 2), "baseline": baseline})


def test_a_url_names_its_server_and_has_no_instances() -> None:
    """An already running server is tested once, as it is, whether or not --server names it."""
    benchmark = load(None, {"server": ("local",), "url": {"triton": "h:1"}})
    assert benchmark.servers == (ServerSpec(kind="local"), ServerSpec(kind="triton", url="h:1"))
    assert "x" not in benchmark.servers[1].label


def test_a_benchmark_cannot_change_under_a_run() -> None:
    """What was resolved before the run is what was run: a Benchmark is immutable."""
    for values, name in ((Benchmark(), "rounds"), (Benchmark().loads[0], "workers")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(values, name, 5)


def test_a_length_as_a_flag_replaces_the_length_of_the_yaml(tmp_path: Path) -> None:
    """A trial has one length: --duration puts the YAML's request-count aside, and the other way round."""
    path = tmp_path / "nightly.yaml"
    path.write_text("request-count: 100")
    (by_time,) = load(path, {"duration": 5.0}).loads
    assert (by_time.request_count, by_time.duration) == (None, 5.0)


def test_a_rate_takes_the_place_of_lanes(tmp_path: Path) -> None:
    """A trial has one kind of loop: --request-rate puts the YAML's concurrency aside, and the other way round."""
    (by_rate,) = load(written(tmp_path, "workers: 4\nconcurrency: 4"), {"request_rate": (50.0,)}).loads
    assert (by_rate.concurrency, by_rate.request_rate, by_rate.in_flight) == (None, (50.0,), 256)
    (by_lanes,) = load(
        written(tmp_path, "workers: 4\nrequest-rate: 50\nrequest-distribution: poisson"), {"concurrency": 4}
    ).loads
    assert (by_lanes.concurrency, by_lanes.request_rate, by_lanes.in_flight) == (4, (), 16)


def test_loads_may_be_of_either_loop(tmp_path: Path) -> None:
    """A load of its own kind puts the benchmark's other kind aside; the most in flight is the benchmark's for all."""
    text = "concurrency: 2\nmax-in-flight: 80\nloads: [{request-rate: [20, 40.5]}, {workers: 1}]"
    rates, lanes = load(written(tmp_path, text), {}).loads
    assert (rates.request_rate, rates.in_flight) == ((20.0, 40.5), 80)
    assert (lanes.request_rate, lanes.in_flight) == ((), 2)


LOADS = "workers: 2\nloads:\n  - {workers: 4}\n  - {batch-size: 3, model: x, duration: 5}\n"


def test_each_load_is_the_benchmark_with_its_own_values(tmp_path: Path) -> None:
    """Each entry of `loads` is a load of its own; what an entry does not say, the top level says."""
    four, three = load(written(tmp_path, LOADS), {}).loads
    assert (four.workers, four.items, four.model, four.duration) == (4, 8, ("efficientnetb0-no-opt",), 10)
    assert (three.workers, three.batch_size, three.model) == (2, 3, ("x",))
    assert (three.request_count, three.duration) == (None, 5.0)  # a load's length takes the place of the benchmark's


def test_a_flag_overrides_every_load(tmp_path: Path) -> None:
    """A flag holds for all cells: no load keeps another value, and a length replaces lengths of either kind."""
    loads = load(written(tmp_path, LOADS), {"workers": 1, "request_count": 9}).loads
    assert {(each.workers, each.request_count, each.duration) for each in loads} == {(1, 9, None)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loads: 4", ["line 1", "loads", "4", "write a list"]),
        ("loads: [4]", ["line 1", "loads", "write a list"]),
        ("loads: [{workers: 1}, {rounds: 2}]", ["load 2", "'rounds'", "batch_size"]),
        ("loads: [{workers: none}]", ["load 1", "workers", "'none'", "whole number"]),
        ("loads: [{workers: 0}]", ["workers", "0", "1 or more"]),
        ("loads: [{request_count: 5, duration: 5}]", ["duration", "leave out"]),
    ],
)
def test_a_wrong_load_is_refused_in_one_sentence(tmp_path: Path, text: str, said: list[str]) -> None:
    """Every load is checked as the benchmark is, before anything runs."""
    with pytest.raises(ConfigError) as refusal:
        load(written(tmp_path, text), {})
    assert all(part in str(refusal.value) for part in said), refusal.value


@pytest.mark.parametrize(
    ("text", "name", "folder"),
    [
        ("./m", "m", "./m"),
        ("some/where/m/", "m", "some/where/m/"),
        ("/abs/resnet/3", "resnet", "/abs/resnet/3"),  # a version of it
        ("mine=./m", "mine", "./m"),
        ("a.b=x/y=z", "a.b", "x/y=z"),
        ("m", "m", None),
        ("m=x", "m=x", None),  # a name of models.conf may have any character but a comma
    ],
)
def test_a_model_may_be_named_by_its_folder(text: str, name: str, folder: str | None) -> None:
    """What has a slash is a folder, called by its last part or as NAME= says; all else is a name of models.conf."""
    benchmark = load(None, {"model": (text,)})
    assert benchmark.loads[0].model == (name,)
    assert benchmark.saved_models == ({name: folder} if folder else {})


def test_the_folder_we_stand_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-m .` is the folder where the command was called, under the name that it has."""
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine" / "deep")
    assert load(None, {"model": (".",)}).all_models == ("deep",)
    assert load(None, {"model": ("..",)}).all_models == ("mine",)


def test_folders_stand_in_a_yaml_as_they_do_in_flags(tmp_path: Path) -> None:
    """Beside the run's settings, in each load, and under saved_models; what a run writes down is read as the same."""
    text = "model: [./a, b]\nsaved_models: {c: ./far/c}\nloads:\n  - {workers: 1}\n  - {model: [x=./a2, c]}\n"
    benchmark = load(written(tmp_path, text), {})
    assert [each.model for each in benchmark.loads] == [("a", "b"), ("x", "c")]
    assert benchmark.saved_models == {"a": "./a", "c": "./far/c", "x": "./a2"}
    again = load(written(tmp_path, yaml.safe_dump(benchmark.written())), {})
    assert (again.loads, again.saved_models) == (benchmark.loads, benchmark.saved_models)


def test_a_flag_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    """-m replaces the models of a YAML; one folder may be named twice, by two loads or beside a flag."""
    path = written(tmp_path, "model: ./a\nloads: [{workers: 1}, {workers: 2, model: ./a}]")
    assert load(path, {}).saved_models == {"a": "./a"}
    benchmark = load(path, {"model": ("./b",)})
    assert benchmark.all_models == ("b",)
    assert benchmark.saved_models["b"] == "./b"
