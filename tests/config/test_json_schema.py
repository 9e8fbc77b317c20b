"""raybench.schema.json: what an editor says of a benchmark's YAML is what raybench takes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from raybench import config
from raybench.config import json_schema

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(json_schema.PATH.read_text())
YAML_LINE = re.compile(r"^# yaml-language-server: \$schema=(\S+)$", re.M)
PAGE_YAML = re.search(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "configuration.md").read_text(), re.M | re.S)
LOADS = {"loads": [{"workers": 4, "request-rate": 5}, {"request_rate": [5, 7.5]}]}


def faults(values: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(values)]


def test_the_schema_is_made_from_the_settings() -> None:
    """The file that editors read is what the declaration says today; `make schema` writes it."""
    assert json_schema.PATH.read_text() == json_schema.text()
    Draft202012Validator.check_schema(SCHEMA)
    keys = {key.replace("-", "_") for key in SCHEMA["properties"]}
    assert keys == {*config.SETTINGS, "loads"}
    assert all(SCHEMA["properties"][name]["description"] == config.SETTINGS[name].help for name in config.SETTINGS)


@pytest.mark.parametrize("path", ["examples/seed.yaml", "examples/seed-small.yaml"])
def test_the_examples_are_valid(path: str) -> None:
    """Our own examples stand without a mark in an editor that knows the schema, and raybench takes them."""
    assert faults(yaml.safe_load((ROOT / path).read_text())) == []
    assert config.load(ROOT / path, {}).loads


def test_the_yaml_of_the_page_is_valid_and_names_the_schema(tmp_path: Path) -> None:
    """The YAML of docs/configuration.md is valid, runs, and leads an editor to the schema in a checkout."""
    assert PAGE_YAML is not None
    text = PAGE_YAML[1]
    assert faults(yaml.safe_load(text)) == []
    (tmp_path / "nightly.yaml").write_text(text)
    assert len(config.load(tmp_path / "nightly.yaml", {}).loads) == 3
    (named,) = YAML_LINE.findall(text)
    assert text.startswith("# yaml-language-server")
    assert (ROOT / named).resolve() == json_schema.PATH.resolve()


@pytest.mark.parametrize(
    "values",
    [
        {"workers": 4, "batch-size": 8, "model": "a", "instances": [1, 2], "duration": None},
        {"url": {"triton": "h:1"}, "header": {"authorization": "Bearer $TOKEN"}, "memory-budget": "512MiB"},
        LOADS,
    ],
)
def test_what_raybench_takes_is_valid(values: dict[str, Any], tmp_path: Path) -> None:
    """Both spellings of a key, one value for a list of one, and null: an editor marks none of what raybench takes."""
    assert faults(values) == []
    (tmp_path / "nightly.yaml").write_text(yaml.safe_dump(values))
    assert config.load(tmp_path / "nightly.yaml", {}).loads


@pytest.mark.parametrize(
    "values",
    [
        {"wrokers": 4},
        {"workers": "4"},
        {"workers": 0},
        {"jpeg_quality": 101},
        {"timeout": 0},
        {"server": "torchserve"},
        {"server": []},
        {"feed": "ftp"},
        {"model": ["a", "a"]},
        {"model": "a,b"},
        {"url": {"torchserve": "h:1"}},
        {"memory_budget": "lots"},
        {"loads": [{"rounds": 2}]},
        {"loads": [{"worker": 2}]},
        {"loads": [{"batch-size": 0}]},
        {"loads": {"workers": 2}},
    ],
    ids=str,
)
def test_what_raybench_refuses_is_marked(values: dict[str, Any], tmp_path: Path) -> None:
    """A misspelt key, a wrong type, a value out of bounds or not among the choices is marked where it is written."""
    assert faults(values)
    (tmp_path / "nightly.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(config.ConfigError):
        config.load(tmp_path / "nightly.yaml", {})
