"""What earlier runs took, to say how long another one may take."""

import json
from contextlib import suppress
from pathlib import Path


def seconds_per_request(out: Path) -> dict[str, float]:
    """By cell id, what a request took on the whole in the newest run below `out` that measured it."""
    known: dict[str, float] = {}
    for path in sorted(out.glob("*/summary.json"), key=_changed_ns):
        with suppress(OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
            for trial in json.loads(path.read_text(encoding="utf-8"))["trials"]:
                if trial["job_s"]:
                    known[trial["cell"]] = trial["job_s"] / trial["requests"]["attempted"]
    return known


def _changed_ns(path: Path) -> int:
    """0 for a file that is gone, or leads nowhere."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
