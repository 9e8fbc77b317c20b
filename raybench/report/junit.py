"""What passed and what did not, as the JUnit XML that CI systems read."""

import re
from collections.abc import Iterable
from typing import NamedTuple
from xml.etree import ElementTree

from raybench.analysis.summary import Summary
from raybench.analysis.threshold_outcomes import ThresholdOutcome
from raybench.analysis.trial_summary import TrialSummary
from raybench.report import sentences

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0

_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


class Case(NamedTuple):
    """One thing that was checked; `outcome` is passed, failure, error or skipped."""

    group: str
    name: str
    outcome: str = "passed"
    message: str = ""
    seconds: float | None = None


def of_run(summary: Summary) -> str:
    """A case for each trial, and for each threshold and row."""
    trials = map(_trial, summary.trials)
    return xml(summary.run.name, [*trials, *map(_threshold, summary.thresholds)])


def _threshold(outcome: ThresholdOutcome) -> Case:
    kind = {None: "skipped", True: "passed", False: "failure"}[outcome.is_met]
    return Case(f"threshold {outcome.threshold}", outcome.cell, kind, sentences.outcome(outcome))


def _trial(trial: TrialSummary) -> Case:
    """An error where it failed, a failure where answers differ from TensorFlow's."""
    differ = bool(trial.verification and trial.verification.agrees is False)
    outcome = {"failed": "error", "interrupted": "error", "skipped": "skipped"}.get(trial.status, "passed")
    doubt = next((doubt.sentence for doubt in trial.doubts if doubt.code == "answers_differ"), "")
    is_different = outcome == "passed" and differ
    return Case(
        group=trial.model.name,
        name=trial.id,
        outcome="failure" if is_different else outcome,
        message=doubt if is_different else trial.reason or "",
        seconds=trial.job_s,
    )


def xml(suite: str, cases: Iterable[Case]) -> str:
    """A suite of cases."""
    all_cases = list(cases)
    counts = {name: sum(case.outcome == kind for case in all_cases) for name, kind in _COUNTED.items()}
    totals = {"name": _legal(suite), "tests": str(len(all_cases)), **{name: str(n) for name, n in counts.items()}}
    root = ElementTree.Element("testsuites", totals)
    parent = ElementTree.SubElement(root, "testsuite", totals)
    for case in all_cases:
        time = {} if case.seconds is None else {"time": f"{case.seconds:.3f}"}
        element = ElementTree.SubElement(
            parent, "testcase", {"classname": _legal(case.group), "name": _legal(case.name), **time}
        )
        if case.outcome != "passed":
            ElementTree.SubElement(element, case.outcome, {"message": _legal(case.message)})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _legal(value: str) -> str:
    return _ILLEGAL.sub("?", value)
