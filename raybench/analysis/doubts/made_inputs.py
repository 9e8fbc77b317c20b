"""Inputs that raybench made by a guess: doubts about what nobody declared; pure."""

from raybench.analysis.doubt import Doubt
from raybench.analysis.trial_summary import TrialSummary
from raybench.inputs.source import ASSUMED

_IMAGE_RANK = 4


def assumed_range(trial: TrialSummary) -> Doubt | None:
    """Images as floats, whose range no signature declares."""
    if trial.payload is None or f"{ASSUMED} " not in trial.payload.encoding:
        return None
    names = [each.name for each in trial.inputs if each.shape and len(each.shape) == _IMAGE_RANK]
    name = names[0] if names else "NAME"
    return Doubt(
        code="assumed_range",
        sentence=f"pixels of {name} were sent as 0 to 255, a guess: its signature declares no range",
        remedy=f"give the model's range: --range {name}:0,255, or for example {name}:0,1 or {name}:-1,1",
    )
