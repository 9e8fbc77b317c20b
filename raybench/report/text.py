"""A Summary as tables for a terminal, or as Markdown."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from raybench.analysis.search.strategy import SearchResult
from raybench.analysis.summary import Summary
from raybench.report import search_tables, sentences
from raybench.report.cost_tables import ReportTable, cost_tables, notes
from raybench.report.model_tables import model_tables
from raybench.report.node_tables import node_tables
from raybench.report.result_table import columns, row, row_names, title
from raybench.report.sentences import comparison, doubt_notes, loads, outcome

_WIDEST = 500


def print_report(console: Console, summary: Summary, folder: Path, *, wrap: bool = False) -> None:
    """The table, the comparisons, the doubts with their remedies, and where the results are.

    Lines are left to the terminal to wrap unless `wrap` is set.
    """
    for model, cells in groupby(summary.cells, key=lambda cell: cell.model):
        table = _table(f"{model}: {title(summary)}")
        for name in columns(summary):
            table.add_column(name, justify="left" if name in ("server", "doubts") else "right", no_wrap=True)
        for cell in cells:
            table.add_row(*(escape(value) for value in row(cell, summary)))
        print_whole(console, table)
    for found in summary.search or ():
        print_whole(console, _curve(found))
    for each in more_tables(summary):
        print_whole(console, _report_table(each))
    for line in _notes(summary):
        console.print(escape(line), highlight=False, soft_wrap=not wrap)
    console.print(f"\nresults in {folder}", highlight=False, soft_wrap=True)


def more_tables(summary: Summary) -> list[ReportTable]:
    """The tables below that of the results."""
    names = row_names(summary)
    return [*model_tables(summary, names), *cost_tables(summary, names), *node_tables(summary, names)]


def _curve(found: SearchResult) -> Table:
    table = _table(search_tables.title(found))
    for name in search_tables.columns(found):
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    for values in search_tables.rows(found):
        table.add_row(*values)
    return table


def _report_table(found: ReportTable) -> Table:
    table = _table(found.title)
    for number, name in enumerate(found.columns):
        table.add_column(name, justify="left" if number < found.words else "right", no_wrap=True)
    for values in found.rows:
        table.add_row(*map(escape, values))
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)


def print_whole(console: Console, table: Table) -> None:
    """A table is never cropped: where the terminal is narrower, the terminal wraps its lines."""
    width = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    there, console.width = console.width, max(width, console.width)  # print(width=) goes up to the console's own alone
    console.print(table, crop=False, no_wrap=True, overflow="ignore", soft_wrap=True)
    console.width = there


def markdown(summary: Summary) -> str:
    """The same tables, comparisons and doubts as Markdown."""
    names = columns(summary)
    rules = ("---" if name in ("server", "doubts") else "---:" for name in names)
    rows: list[tuple[str, ...]] = [("model", *names), ("---", *rules)]
    rows += [(cell.model, *row(cell, summary)) for cell in summary.cells]
    lines = [f"**{summary.run.name}: {title(summary)}**", "", *map(markdown_row, rows), ""]
    for found in summary.search or ():
        names = search_tables.columns(found)
        curve = [names, ("---:",) * (len(names) - 1) + ("---",), *search_tables.rows(found)]
        lines += [f"**{search_tables.title(found)}**", "", *map(markdown_row, curve), ""]
    for each in more_tables(summary):
        rule = ("---",) * each.words + ("---:",) * (len(each.columns) - each.words)
        lines += [f"**{each.title}**", "", *map(markdown_row, [each.columns, rule, *each.rows]), ""]
    return "\n".join([*lines, *(f"- {' '.join(line.split())}" for line in _notes(summary))]) + "\n"


def markdown_row(values: Iterable[str]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(values) + " |"


def _notes(summary: Summary) -> list[str]:
    load_of = loads(summary)
    judged = sum(each.verdict is not None for each in summary.comparisons)
    return [
        *map(search_tables.headline, summary.search or ()),
        *(comparison(each, judged) for each in summary.comparisons),
        *(f"threshold {each.threshold}: {outcome(each, load_of[each.cell])}" for each in summary.thresholds),
        *(f"{cell.label}, {cell.model}: {cell.status}: {cell.reason}" for cell in summary.cells if cell.reason),
        *notes(summary, row_names(summary)),
        *map(str, doubt_notes(summary)),
        *map(sentences.damage, summary.damaged),
    ]
