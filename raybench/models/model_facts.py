"""What a SavedModel is: the facts that export left in it, and the hash of its files."""

import hashlib
import json
from pathlib import Path
from typing import Any

from raybench.models.saved_models import read_models_conf

# TF Serving ignores what it does not know in assets.extra.
_FACTS = Path("assets.extra") / "raybench.json"


def write_facts(saved_model: Path, facts: dict[str, Any]) -> None:
    (saved_model / _FACTS).parent.mkdir(exist_ok=True)
    (saved_model / _FACTS).write_text(json.dumps(facts, indent=2) + "\n")


def describe_model(models_conf: Path, name: str) -> dict[str, Any]:
    """Name, version, sha256, precision and xla of the version served by default; None where it is not known."""
    unknown = {"name": name, "version": None, "sha256": None, "precision": None, "xla": None}
    try:
        entry = {model.name: model for model in read_models_conf(models_conf)}[name]
        version = entry.versions()[-1]
    except (KeyError, ValueError):
        return unknown
    folder = entry.base_path / str(version)
    facts = json.loads((folder / _FACTS).read_text()) if (folder / _FACTS).exists() else {}
    known = {key: facts.get(key) for key in ("precision", "xla")}
    return {**unknown, "version": version, "sha256": _sha256(folder), **known}


def _sha256(folder: Path) -> str:
    """Of the relative paths and contents of all files, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
