"""Changes to a results folder on disk, as somebody who knows its checksums could make them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raybench.results.sealed_json import write_sealed

VERSION, SEAL = "schema_version", "sha256"


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file and seal it again."""
    there = json.loads(path.read_text())
    there.pop(SEAL, None)
    change(there)
    write_sealed(path, there)


def without_seals(folder: Path) -> None:
    """Make a folder one of a raybench that wrote no checksums."""
    for path in (folder / "environment.json", *(folder / "trials").iterdir()):
        there = json.loads(path.read_text())
        ours = (SEAL, "run_id", "files", "measured", "samples_sha256", "telemetry_sha256")
        path.write_text(json.dumps({key: value for key, value in there.items() if key not in ours}))
