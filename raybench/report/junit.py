"""What passed and what did not, as the JUnit XML that CI systems read."""

import re
from collections.abc import Iterable
from typing import NamedTuple
from xml.etree import ElementTree

from raybench.analysis.gates import FAILED, Failure, failures
from raybench.analysis.search.strategy import SearchResult
from raybench.analysis.summary import Summary
from raybench.analysis.threshold_outcomes import ThresholdOutcome
from raybench.analysis.trial_summary import TrialSummary
from raybench.analysis.tuning.result import TuningResult
from raybench.config.plan import Load
from raybench.report import search_tables, sentences, tuning_tables
from raybench.results.damage import DamagedFile

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
    """A case for each trial, each threshold and row, each search, and each file that cannot be trusted; what fails the
    command fails its case.
    """
    first = {id(each.about): each for each in reversed(failures(summary))}
    load_of = sentences.loads(summary)
    return xml(
        summary.run.name,
        [
            *(_trial(trial, first.get(id(trial))) for trial in summary.trials),
            *(_threshold(each, first.get(id(each)), load_of[each.cell]) for each in summary.thresholds),
            *(_search(each, first.get(id(each))) for each in summary.search or ()),
            *([_tuning(summary.tuning, first.get(id(summary.tuning)))] if summary.tuning else []),
            *(of_damage("results folder", each) for each in summary.damaged),
        ],
    )


def of_damage(group: str, each: DamagedFile) -> Case:
    """A file that cannot be trusted is an error: what it held was not checked."""
    return Case(group, each.path, "error", str(each))


def _threshold(outcome: ThresholdOutcome, failed: Failure | None, load: Load) -> Case:
    message = sentences.outcome(outcome, load)
    return Case(f"threshold {outcome.threshold}", outcome.cell, "failure" if failed else "passed", message)


def _search(found: SearchResult, failed: Failure | None) -> Case:
    return Case("search", search_tables.title(found), "failure" if failed else "passed", search_tables.headline(found))


def _tuning(found: TuningResult, failed: Failure | None) -> Case:
    message = f"{' '.join(filter(None, tuning_tables.headline(found)))}. {tuning_tables.evidence(found)}"
    return Case("tuning", tuning_tables.title(found), "failure" if failed else "passed", message)


def _trial(trial: TrialSummary, failed: Failure | None) -> Case:
    """An error where it failed, a failure where what it measured fails the run."""
    outcome = {"interrupted": "error", "skipped": "skipped"}.get(trial.status, "passed")
    if failed:
        outcome = "error" if failed.code == FAILED else "failure"
    return Case(
        group=trial.model.name,
        name=trial.id,
        outcome=outcome,
        message=(trial.reason if trial.reason and outcome != "failure" else failed.sentence if failed else "") or "",
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
