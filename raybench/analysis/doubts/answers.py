"""Sampled answers against TensorFlow's: doubts where they differ, or could not be compared; pure."""

from raybench.analysis import units
from raybench.analysis.doubt import Doubt
from raybench.analysis.trial_summary import TrialSummary


def answers_differ(trial: TrialSummary) -> Doubt | None:
    seen = trial.verification
    if seen is None or seen.agrees is not False:
        return None
    worst = [
        f"{each.model} by {each.difference:.2g} of the largest value (tolerance {each.tolerance:g})"
        for each in seen.models
        if not each.agrees
    ]
    return Doubt(
        code="answers_differ",
        sentence=f"answers differ from TensorFlow's: {'; '.join(worst) or seen.reason}",
        remedy="compare the model, its version and its precision on both sides, or set --tolerance",
    )


def answers_alike(trial: TrialSummary) -> Doubt | None:
    """Verification that could not have failed."""
    weak = [each.model for each in trial.verification.models if not each.has_power] if trial.verification else []
    if not weak:
        return None
    items = units.items(trial.unit)
    return Doubt(
        code="answers_alike",
        sentence=f"answers of {', '.join(weak)} to different {items} are too alike to tell a wrong one",
        remedy=f"use other {items}, or a model whose answers differ",
    )


def not_verified(trial: TrialSummary) -> Doubt | None:
    seen = trial.verification
    if seen is None or seen.agrees is not None:
        return None
    return Doubt(
        code="not_verified",
        sentence=f"answers were not compared: {seen.reason}",
        remedy="give --models a folder with the model, or --no-verify",
    )
