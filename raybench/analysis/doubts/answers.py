"""Sampled answers against TensorFlow's: doubts where they differ, or could not be compared; pure."""

from raybench.analysis import units
from raybench.analysis.doubt import Doubt
from raybench.analysis.plain_numbers import plain
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
        remedy="check that both sides run the same model, version and precision, or raise --tolerance",
    )


def _how(found: ModelVerification) -> str:
    worst = max(found.outputs, key=lambda each: each.difference)
    if worst.difference == UNEQUAL:
        return f"in {worst.name}, which must be equal, or is not finite"
    if found.difference <= found.tolerance:
        return f"in {1 - found.nearest:.0%} of the items, whose answers fit another item better"
    return f"by {plain(found.difference, 2)} of the largest value (tolerance {plain(found.tolerance)})"


def answers_alike(trial: TrialSummary) -> Doubt | None:
    """Verification that could not have failed."""
    weak = [each.model for each in trial.verification.models if not each.has_power] if trial.verification else []
    if not weak:
        return None
    items = units.items(trial.unit)
    return Doubt(
        code="answers_alike",
        sentence=f"a wrong answer would not show: {', '.join(weak)} answers different {items} almost alike",
        remedy=f"use other {items}, or a model whose answers differ",
    )


def not_verified(trial: TrialSummary) -> Doubt | None:
    seen = trial.verification
    if seen is None or seen.agrees is False or seen.reason is None:
        return None
    what = "only some answers were checked" if seen.agrees else "answers were not checked"
    return Doubt(
        code="not_verified",
        sentence=f"{what}: {seen.reason}",
        remedy="point --models at a folder that has the model, or turn the check off with --no-verify",
    )
