"""Rows of input files that were not sent; pure."""

from raybench.analysis.doubt import Doubt
from raybench.analysis.trial_summary import TrialSummary


def skipped_rows(trial: TrialSummary) -> Doubt | None:
    """Rows that do not fit were left out: the load may not be the user's."""
    if trial.payload is None or not trial.payload.skipped_rows:
        return None
    return Doubt(
        code="skipped_rows",
        sentence="; ".join(trial.payload.skipped_rows),
        remedy="if those rows belong to your load, correct them, or use another --signature or --shape",
        value=len(trial.payload.skipped_rows),
        limit=0,
    )
