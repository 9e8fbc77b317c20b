"""Files of a row that are damaged, or could not be verified; pure."""

from collections.abc import Sequence

from raybench.analysis.doubt import Doubt
from raybench.analysis.trial_summary import TrialSummary
from raybench.results.damage import DamagedFile


def damaged_files(trial: TrialSummary, damaged: Sequence[DamagedFile]) -> Doubt | None:
    """Of this trial, whose telemetry may be lost, or of another round of its row."""
    mine = [each for each in damaged if each.cell == trial.cell]
    if not mine:
        return None
    more = f", and {len(mine) - 1} more" if len(mine) > 1 else ""
    return Doubt(
        code="damaged_files",
        sentence=f"a file is damaged, and its numbers are left out: {mine[0]}{more}",
        remedy="restore the file from a copy, or measure again with `raybench run --resume`",
        value=len(mine),
        limit=0,
    )


def unverified_files(trial: TrialSummary, unsealed: frozenset[str]) -> Doubt | None:
    if trial.id not in unsealed:
        return None
    return Doubt(
        code="unverified_files",
        sentence="damage would not be seen: the files were written by an older raybench, without checksums",
        remedy="compare them with a copy, or measure again",
    )
