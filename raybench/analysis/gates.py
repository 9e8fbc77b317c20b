"""A summary -> what makes the command fail, each with its exit code: for the command and for JUnit; pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from raybench.analysis.plain_numbers import plain
from raybench.analysis.search.strategy import SearchResult
from raybench.analysis.summary import Summary
from raybench.analysis.threshold_outcomes import ThresholdOutcome
from raybench.analysis.trial_summary import TrialSummary
from raybench.analysis.tuning.result import TuningResult
from raybench.results.damage import DamagedFile

FAILED, TOO_MANY_ERRORS, ANSWERS_DIFFER, MISSED, NOT_WHOLE = 1, 5, 4, 99, 3
_IN_ORDER = (FAILED, TOO_MANY_ERRORS, ANSWERS_DIFFER, MISSED, NOT_WHOLE)


@dataclass(frozen=True)
class Failure:
    """One reason for an exit code; `about` is the trial, threshold outcome, search or file behind it."""

    code: int
    sentence: str
    about: TrialSummary | ThresholdOutcome | SearchResult | TuningResult | DamagedFile


def failures(summary: Summary) -> tuple[Failure, ...]:
    """Everything that fails a run or a search, in the order in which exit codes apply."""
    found = _of_tuning(summary) if summary.tuning is not None else _of_plain(summary)
    damaged = (Failure(FAILED, f"damaged: {each}", each) for each in summary.damaged)
    return tuple(sorted([*found, *damaged], key=lambda each: _IN_ORDER.index(each.code)))


def _of_plain(summary: Summary) -> Iterator[Failure]:
    return _of_search(summary) if summary.search is not None else _of_run(summary)


def _of_tuning(summary: Summary) -> Iterator[Failure]:
    """A configuration that fails is no failure: a tuning finds out which ones work."""
    found = summary.tuning
    if found and found.winner is None:
        yield Failure(FAILED, "no configuration gave a number", found)
    yield from filter(None, map(_differs, summary.trials))


def _of_search(summary: Summary) -> Iterator[Failure]:
    """A load that fails beyond the boundary is no failure: a search looks for it."""
    for found in summary.search or ():
        if not found.is_over or found.feasible_max is None:
            yield Failure(FAILED, f"{found.server}, {found.model}: the search found no load that holds", found)
    yield from filter(None, map(_differs, summary.trials))


def _of_run(summary: Summary) -> Iterator[Failure]:
    is_nothing = all(trial.status == "skipped" for trial in summary.trials)
    for trial in summary.trials:
        found = (
            _failed(trial, is_nothing=is_nothing),
            _errors(trial, summary),
            _differs(trial),
            _loose(trial, summary),
        )
        yield from filter(None, found)
    yield from filter(None, map(_missed, summary.thresholds))


def _failed(trial: TrialSummary, *, is_nothing: bool) -> Failure | None:
    if trial.status == "failed" or is_nothing:
        what = "no server was measured: " if is_nothing else ""
        return Failure(FAILED, f"{what}{trial.id} {trial.status}: {_line(trial.reason)}", trial)
    return None


def _errors(trial: TrialSummary, summary: Summary) -> Failure | None:
    rate, most = trial.requests.error_rate, summary.run.max_error_rate
    if rate <= most:
        return None
    counts = f"{trial.requests.failed} of {trial.requests.attempted} requests failed"
    return Failure(TOO_MANY_ERRORS, f"{trial.id}: {counts} ({rate:.2%}, --max-error-rate allows {most:.2%})", trial)


def _differs(trial: TrialSummary) -> Failure | None:
    if trial.verification is None or trial.verification.agrees is not False:
        return None
    doubt = next((each.sentence for each in trial.doubts if each.code == "answers_differ"), "answers differ")
    return Failure(ANSWERS_DIFFER, f"{trial.id}: {doubt}", trial)


def _missed(outcome: ThresholdOutcome) -> Failure | None:
    """What could not be judged is not met: a gate that measured nothing must not pass."""
    if outcome.is_met:
        return None
    what = f"was {plain(outcome.value, 4)}" if outcome.value is not None else outcome.unknown or "no reason is known"
    return Failure(MISSED, f"threshold {outcome.threshold} of {outcome.cell}: {what}", outcome)


def _loose(trial: TrialSummary, summary: Summary) -> Failure | None:
    if not summary.run.strict or trial.status not in ("degraded", "unstable", "skipped"):
        return None
    return Failure(NOT_WHOLE, f"{trial.id} {trial.status}: {_line(trial.reason)}", trial)


def _line(text: str | None) -> str:
    return (text or "no reason is known").splitlines()[0]
