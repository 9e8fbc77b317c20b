"""What a SavedModel is: the facts that export left in it, and the hash of its files."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raybench.models.graph_types import computes_in
from raybench.models.saved_models import read_models_conf

# TF Serving ignores what it does not know in assets.extra.
_FACTS = Path("assets.extra") / "raybench.json"


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A model and the version served by default; None is not known."""

    name: str
    version: int | None = None
    sha256: str | None = None
    precision: str | None = None
    xla: bool | None = None


def write_facts(saved_model: Path, facts: Mapping[str, str | int | bool]) -> None:
    (saved_model / _FACTS).parent.mkdir(exist_ok=True)
    (saved_model / _FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def describe_model(models_conf: Path, name: str) -> ModelFacts:
    """A model of models.conf, as its folder has it now."""
    try:
        entry = {model.name: model for model in read_models_conf(models_conf)}[name]
        version = entry.versions()[-1]
    except (KeyError, ValueError):
        return ModelFacts(name=name)
    folder = entry.version_folder(version)
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8")) if (folder / _FACTS).exists() else {}
    computes = computes_in(folder)
    return ModelFacts(
        name=name,
        version=version,
        sha256=fingerprint(folder),
        precision=facts.get("precision", computes.precision),
        xla=facts.get("xla", computes.xla),
    )


def fingerprint(folder: Path) -> str:
    """SHA-256 of the relative paths and contents of all files in a folder, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
