"""Sampled answers against TensorFlow's: doubts where they differ, or could not be compared; pure."""

from raybench.analysis import units
from raybench.analysis.doubt import Doubt
from raybench.analysis.trial_summary import TrialSummary
from raybench.results.records import UNEQUAL, ModelVerification


def answers_differ(trial: TrialSummary) -> Doubt | None:
    seen = trial.verification
    if seen is None or seen.agrees is not False:
        return None
    found = [seen.reason] if seen.reason else []
    found += [f"{each.model} {_how(each)}" for each in seen.models if not each.agrees]
    return Doubt(
        code="answers_differ",
        sentence=f"answers differ from TensorFlow's: {'; '.join(found)}",
        remedy="compare the model, its version and its precision on both sides, or set --tolerance",
    )


def _how(found: ModelVerification) -> str:
    worst = max(found.outputs, key=lambda each: each.difference)
    if worst.difference == UNEQUAL:
        return f"in values of {worst.name} that must be equal, or finite"
    if found.difference <= found.tolerance:
        return f"in {1 - found.nearest:.0%} of the items, whose answers are nearer to another item's"
    return f"by {found.difference:.2g} of the largest value (tolerance {found.tolerance:g})"


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
    if seen is None or seen.agrees is False or seen.reason is None:
        return None
    what = "not all answers were compared" if seen.agrees else "answers were not compared"
    return Doubt(
        code="not_verified",
        sentence=f"{what}: {seen.reason}",
        remedy="give --models a folder with the model, or --no-verify",
    )
