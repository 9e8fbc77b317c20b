"""Findings as lines of text."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raybench.cli.doctor.findings import FAILS, NOTE, WORKS, Finding

_STYLES = {WORKS: "green", FAILS: "bold red", NOTE: "yellow"}


def print_findings(console: Console, found: Sequence[Finding]) -> None:
    """Print a line for each finding, and one for all of them; only on a terminal lines wrap."""
    failed = failed_topics(found)
    last = f"raybench run --workers 4 cannot run here: {failed}" if failed else "raybench run --workers 4 can run here"
    if console.is_terminal:
        console.print(_table(found))
        console.print(last, style=_STYLES[FAILS if failed else WORKS], highlight=False)
    else:
        lines = [f"{each.status:13}  {each.topic:15}  {_sentence(each)}" for each in found]
        console.print("\n".join([*lines, last]), soft_wrap=True, markup=False, highlight=False)


def failed_topics(found: Sequence[Finding]) -> str | None:
    """What prevents `raybench run --workers 4`, separated by commas; None where it can run."""
    return ", ".join(finding.topic for finding in found if finding.status == FAILS) or None


def _table(found: Sequence[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for each in found:
        table.add_row(Text(each.status, _STYLES[each.status]), Text(each.topic), Text(_sentence(each)))
    return table


def _sentence(finding: Finding) -> str:
    return f"{finding.detail}; {finding.remedy}" if finding.remedy else finding.detail
