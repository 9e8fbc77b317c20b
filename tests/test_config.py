"""Benchmark: what a user may ask for, and what is said where it is wrong."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from raybench.config import Benchmark, ConfigError, ServerSpec, load

IN_FLIGHT = {"workers": 3, "concurrency": 2}


def written(folder: Path, text: str) -> Path:
    path = folder / "nightly.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("flags", "field", "value", "remedy"),
    [
        ({"workers": 0}, "workers", "0", "1 or more"),
        ({"workers": -2}, "workers", "-2", "1 or more"),
        ({"concurrency": 0}, "concurrency", "0", "1 or more"),
        ({"batch_size": 0}, "batch-size", "0", "1 or more"),
        ({"rounds": 0}, "rounds", "0", "1 or more"),
        ({"request_count": 0}, "request-count", "0", "1 or more"),
        ({**IN_FLIGHT, "request_count": 5}, "request-count", "5", "6 requests are in flight"),
        ({"timeout": 0.0}, "timeout", "0.0", "above 0"),
        ({"timeout": float("nan")}, "timeout", "nan", "above 0"),
        ({"duration": -1.0}, "duration", "-1.0", "above 0"),
        ({"duration": float("inf")}, "duration", "inf", "time"),
        ({"duration": 5.0, "request_count": 100}, "duration", "5.0", "leave out"),
        ({"warmup_request_count": -1}, "warmup-request-count", "-1", "0 or more"),
        ({"seed": -1}, "seed", "-1", "0 or more"),
        ({"instances": (1, 0)}, "instances", "1, 0", "1 or more"),
        ({"instances": (2, 2)}, "instances", "2, 2", "once"),
        ({"server": ("local", "local")}, "server", "local, local", "once"),
        ({"model": ("a", "a")}, "model", "a, a", "once"),
        ({"model": ("../a",)}, "model", "../a", ""),
        ({"server": ("torchserve",)}, "server", "torchserve", "triton, local, fake"),
        ({"url": {"torchserve": "h:1"}}, "server", "torchserve", "triton, local, fake"),
        ({"url": {"local": "h:1"}}, "url", "h:1", "no url"),
        ({"max_error_rate": 1.1}, "max-error-rate", "1.1", "between 0 and 1"),
        ({"max_error_rate": -0.1}, "max-error-rate", "-0.1", "between 0 and 1"),
        ({"ui": "curses"}, "ui", "curses", "live, plain, none"),
        ({"images": "no/such/folder"}, "images", "no/such/folder", "folder"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(flags: dict, field: str, value: str, remedy: str) -> None:
    """A wrong configuration stops a run with one sentence that names the field, its value and the remedy."""
    with pytest.raises(ConfigError) as refusal:
        load(None, flags)
    sentence = str(refusal.value)
    assert re.search(rf"\b{field}\b", sentence)
    assert value in sentence
    assert remedy in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wrokers: 4", ["'wrokers'", "workers"]),
        ("workers: four", ["workers", "'four'", "whole number"]),
        ("workers: true", ["workers", "True", "whole number"]),
        ("workers: 2.5", ["workers", "2.5", "whole number"]),
        ("workers:", ["workers", "None", "whole number"]),
        ("strict: 1", ["strict", "1", "true or false"]),
        ("timeout: soon", ["timeout", "'soon'", "a number"]),
        ("name: 7", ["name", "7", "text"]),
        ("instances: [1, two]", ["instances", "'two'", "whole number"]),
        ("model: []", ["model", "at least one"]),
        ("url: 127.0.0.1:8001", ["url", "127.0.0.1:8001", "{triton: HOST:PORT}"]),
        ("url: {triton: ''}", ["url", "triton"]),
        ("- workers", ["mapping", "workers: 4"]),
        ("", ["mapping"]),
        ("workers: [", ["YAML"]),
    ],
)
def test_a_wrong_yaml_is_refused_in_one_sentence(tmp_path: Path, text: str, said: list[str]) -> None:
    """A YAML that cannot be meant stops a run with one sentence that names the key and what it takes."""
    with pytest.raises(ConfigError) as refusal:
        load(written(tmp_path, text), {})
    assert all(part in str(refusal.value) for part in said)
    assert "\n" not in str(refusal.value)


NO_TEXT = b"\xff"


@pytest.mark.parametrize(
    "make", [Path.exists, Path.mkdir, lambda path: path.write_bytes(NO_TEXT)], ids=["missing", "folder", "no text"]
)
def test_a_yaml_that_cannot_be_read_is_a_configuration_error(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A benchmark file that is missing, a folder or no text is named, without a traceback."""
    path = tmp_path / "absent.yaml"
    make(path)
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load(path, {})


def test_without_yaml_and_flags_there_is_a_benchmark() -> None:
    """With nothing given, 4 workers send 100 requests to TensorFlow in process and to one Triton instance."""
    benchmark = load(None, {})
    assert [server.label for server in benchmark.servers] == ["local", "triton x1"]
    assert (benchmark.workers, benchmark.concurrency, benchmark.batch_size) == (4, 1, 8)
    assert (benchmark.request_count, benchmark.duration) == (100, None)


def test_a_flag_overrides_the_yaml(tmp_path: Path) -> None:
    """A flag that is given wins over the YAML, and the YAML over the default."""
    path = written(tmp_path, "workers: 2\nbatch-size: 16\nmodel: resnet50-no-opt\n")
    benchmark = load(path, {"workers": 3, "model": ("a", "b"), "batch_size": None, "server": (), "url": {}})
    assert (benchmark.workers, benchmark.batch_size, benchmark.concurrency) == (3, 16, 1)
    assert benchmark.model == ("a", "b")


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
        ("request-count: null", "request_count", 100),
        ("warmup_request_count: 0", "warmup_request_count", 0),
        ("url: {triton: 'h:1'}", "url", {"triton": "h:1"}),
    ],
)
def test_yaml_values_take_the_type_of_their_field(tmp_path: Path, text: str, name: str, value: object) -> None:
    """In the YAML a single value stands for a list of one, a whole number for a float, and both spellings for a key."""
    found = getattr(load(written(tmp_path, text), {}), name)
    assert found == value
    assert type(found) is type(value)


def test_a_duration_takes_the_place_of_the_default_count() -> None:
    """A trial has one length: where a duration is given, no number of requests bounds it."""
    assert load(None, {"duration": 5.0}).request_count is None


def test_a_run_is_named_after_its_file(tmp_path: Path) -> None:
    """The results folder of a YAML without a name bears the file's; a name that is given wins."""
    assert load(written(tmp_path, "workers: 1"), {}).name == "nightly"
    assert load(written(tmp_path, "name: release"), {}).name == "release"
    assert load(written(tmp_path, "workers: 1"), {"name": "flag"}).name == "flag"


def test_each_number_of_instances_is_a_server_of_its_own() -> None:
    """--instances 1,2 puts two Tritons into the table; the other servers stay one."""
    servers = load(None, {"instances": (1, 2)}).servers
    assert [server.label for server in servers] == ["local", "triton x1", "triton x2"]


def test_a_url_names_its_server_and_has_no_instances() -> None:
    """A server that runs already is tested once, as it is, whether or not --server names it."""
    benchmark = load(None, {"server": ("local",), "url": {"triton": "h:1"}})
    assert benchmark.servers == (ServerSpec(kind="local"), ServerSpec(kind="triton", url="h:1"))
    assert "x" not in benchmark.servers[1].label


def test_a_benchmark_cannot_change_under_a_run() -> None:
    """What was resolved before the run is what was run: a Benchmark is immutable."""
    with pytest.raises(AttributeError):
        Benchmark().workers = 5


def test_a_length_as_a_flag_replaces_the_length_of_the_yaml(tmp_path: Path) -> None:
    """A trial has one length: --duration puts the YAML's request-count aside, and the other way round."""
    path = tmp_path / "nightly.yaml"
    path.write_text("request-count: 100")
    by_time = load(path, {"duration": 5.0})
    assert (by_time.request_count, by_time.duration) == (None, 5.0)


LOADS = "workers: 2\nloads:\n  - {workers: 4}\n  - {batch-size: 3, model: x, duration: 5}\n"


def test_each_load_is_the_benchmark_with_its_own_values(tmp_path: Path) -> None:
    """`loads` makes a variant of the benchmark for each entry; what an entry does not say, the benchmark says."""
    four, three = load(written(tmp_path, LOADS), {}).variants
    assert (four.workers, four.batch_size, four.model, four.request_count) == (4, 8, ("efficientnetb0-no-opt",), 100)
    assert (three.workers, three.batch_size, three.model) == (2, 3, ("x",))
    assert (three.request_count, three.duration) == (None, 5.0)  # a load's length takes the place of the benchmark's


def test_a_flag_overrides_every_load(tmp_path: Path) -> None:
    """A flag holds for all cells: no load keeps another value, and a length replaces lengths of either kind."""
    variants = load(written(tmp_path, LOADS), {"workers": 1, "request_count": 9}).variants
    assert {(v.workers, v.request_count, v.duration) for v in variants} == {(1, 9, None)}


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
