"""The JSON Schema of a benchmark's YAML, by which an editor completes and checks it; `make schema` writes it.

The schema holds types, bounds and choices; what several settings must have in common only `raybench run` checks.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from raybench.config.benchmark import Benchmark
from raybench.config.load_settings import LoadSettings

PATH = Path(__file__).with_name("raybench.schema.json")
Schema = dict[str, Any]  # as pydantic makes it


def schema() -> Schema:
    """The schema of a YAML: settings of the run and of a load side by side, and `loads` with some of a load's."""
    load, run = (_properties(model) for model in (LoadSettings, Benchmark))
    loads = {
        "description": "Loads, each measured on its own; what one leaves out comes from the rest of the file.",
        "type": "array",
        "items": _mapping({name: _reference(name) for name in load}),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A benchmark of raybench",
        **_mapping({**load, **run, "loads": loads}),
    }


def _properties(model: type[BaseModel]) -> Schema:
    """What is declared of each setting; pydantic's titles are the names again."""
    properties = model.model_json_schema()["properties"]
    return {
        name: {key: value for key, value in said.items() if key != "title"}
        for name, said in properties.items()
        if name != "loads"
    }


def _mapping(properties: Schema) -> Schema:
    """No other keys; each with underscores or hyphens, of which editors that know `doNotSuggest` offer the former."""
    hyphenated = {
        name.replace("_", "-"): {**_reference(name), "doNotSuggest": True} for name in properties if "_" in name
    }
    return {"type": "object", "additionalProperties": False, "properties": {**properties, **hyphenated}}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/properties/{name}"}


def text() -> str:
    """The schema as its file has it."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
