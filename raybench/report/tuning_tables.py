"""What a tuning found, in words and as a table: a row for every configuration that was measured."""

from raybench.analysis.plain_numbers import plain
from raybench.analysis.tuning.halving import CONFIRMATION
from raybench.analysis.tuning.result import BETTER, TriedConfiguration, TuningResult

_DASH = "–"
COLUMNS = ("configuration", "rounds", "stage")


def title(found: TuningResult) -> str:
    return f"{found.measurements} measurements of {len(found.tried)} of {found.configurations} configurations"


def measure(found: TuningResult) -> str:
    """What was compared, with its unit."""
    return f"requests/s with {found.threshold}" if found.threshold else f"{found.unit}/s"


def headline(found: TuningResult) -> tuple[str, str, str]:
    """The answer as a sentence around its number."""
    if found.winner is None:
        return "No configuration gave a number", "", ""
    default = next((each for each in found.tried if each.name == found.default), None)
    if default is not None and default.value is None:
        return f"{found.default} gave no number; {found.winner} was the best of the others", "", ""
    if found.verdict == BETTER and found.ratio:
        return f"{found.winner} reaches", f"{found.ratio.mean:.2f} times", f"the {measure(found)} of {found.default}"
    return f"No configuration better than {found.default} was shown", "", ""


def evidence(found: TuningResult) -> str:
    """What the answer rests on."""
    if found.winner is None:
        return next((each.reason for each in found.tried if each.reason), "Nothing was measured yet.")
    if found.winner == found.default:
        rest = "It was the best of what was measured."
        return rest if found.is_over else f"{rest} The tuning ended before its answer."
    best = next(each for each in found.tried if each.name == found.winner)
    if best.stage == CONFIRMATION and best.failed:
        return f"{found.winner}, the best of the others, gave no number in {best.failed} of {best.rounds} rounds."
    if found.ratio is None or found.ratio.low is None or found.ratio.high is None:
        return f"{found.winner} was the best so far; it was not measured again beside {found.default}."
    span = f"95 % interval {found.ratio.low:.2f}–{found.ratio.high:.2f}, {found.ratio.rounds} fresh rounds"
    if found.verdict == BETTER:
        return f"{span[0].upper()}{span[1:]}."
    return f"The best of the others, {found.winner}: {found.ratio.mean:.2f} times the {measure(found)}, {span}."


def columns(found: TuningResult) -> tuple[str, ...]:
    return (*COLUMNS, measure(found), "of default", "p99 ms")


def rows(found: TuningResult) -> list[tuple[str, ...]]:
    """The best first."""
    return [_row(each) for each in found.tried]


def _row(each: TriedConfiguration) -> tuple[str, ...]:
    ratio = f"{each.ratio:.2f}" if each.ratio else _DASH
    return (each.name, str(each.rounds), each.stage, _number(each.value), ratio, _number(each.p99_ms))


def reasons(found: TuningResult) -> list[str]:
    """Why configurations gave no number, or in some rounds none."""
    return [f"{each.name}: {_how_often(each)}{each.reason}" for each in found.tried if each.reason]


def _how_often(each: TriedConfiguration) -> str:
    return f"no number in {each.failed} of {each.rounds} rounds: " if each.failed < each.rounds else ""


def _number(value: float | None) -> str:
    return _DASH if value is None else plain(value, 4)
