"""A results folder -> what people read; `run` ends here, and `raybench report DIR` starts here."""

import json
from dataclasses import asdict
from pathlib import Path

from raybench.analysis.summary import Summary, summarize
from raybench.results import results_folder


def report(folder: Path) -> Summary:
    """The summary of a results folder, finished or not; raises ResultsError."""
    return summarize(results_folder.load(folder))


def as_json(summary: Summary) -> str:
    """The text of summary.json."""
    return json.dumps(asdict(summary), indent=2, allow_nan=False) + "\n"


def save(folder: Path, summary: Summary) -> None:
    """Renew a results folder's summary.json; raises ResultsError."""
    results_folder.write_summary(folder, asdict(summary))
