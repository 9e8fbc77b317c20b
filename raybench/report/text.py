"""A Summary for a terminal or a log, or as Markdown: the answer first, then the table and what qualifies it."""

import shlex
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from raybench.analysis.search.strategy import SearchResult
from raybench.analysis.summary import Summary
from raybench.analysis.tuning.result import TuningResult
from raybench.report import search_tables, sentences, tuning_tables
from raybench.report.client_tables import client_tables
from raybench.report.cost_tables import ReportTable, cost_tables, notes
from raybench.report.gpu_tables import gpu_tables
from raybench.report.headline import headline
from raybench.report.model_tables import model_tables
from raybench.report.next_step import NextStep, next_step
from raybench.report.node_tables import node_tables
from raybench.report.result_table import DROPPED_FIRST, columns, row, row_names, title
from raybench.report.sentences import comparison, doubt_notes, loads, outcome
from raybench.results.run_files import DEPLOY

_WIDEST = 500
_LEFT_ALIGNED = ("server", "doubts")


def print_report(console: Console, summary: Summary, folder: Path, *, is_detailed: bool = False) -> None:
    """The answer, the table, what qualifies it, and the next command; no line is wider than the console.

    With `is_detailed` also what the servers cost, where the time went, and each model and node by itself.
    """
    _print_answer(console, summary)
    if is_detailed or not (summary.search or summary.tuning):  # the curve has the same rows
        _print_rows(console, summary)
    if summary.tuning:
        print_whole(console, _report_table(tuning_table(summary.tuning)))
    for found in summary.search or ():
        print_whole(console, _curve(found))
    if is_detailed:
        for each in more_tables(summary):
            print_whole(console, _report_table(each))
    for line in _notes(summary):
        print_wrapped(console, line)
    console.print()
    if step := next_step(summary, folder):
        _print_step(console, step)
    if summary.tuning and (folder / DEPLOY).is_dir():
        line = f"files to deploy {summary.tuning.to_deploy}: {folder / DEPLOY}"
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(escape(f"results in {folder}"), highlight=False, soft_wrap=True)


def _print_rows(console: Console, summary: Summary) -> None:
    dropped = _dropped(summary, console)
    for model, cells in groupby(summary.cells, key=lambda cell: cell.model):
        rows = [row(cell, summary) for cell in cells]
        print_whole(console, _main_table(f"{model}: {title(summary)}", columns(summary), rows, dropped))
    if dropped:
        print_wrapped(console, f"not shown in {console.width} columns: {', '.join(dropped)}; report.html has them")


def _print_step(console: Console, step: NextStep) -> None:
    """A command that can be copied as it stands, in several lines where it is long."""
    first, *words = map(shlex.quote, step.words)
    lines = [f"  {first}"]
    for word in words:
        longer = f"{lines[-1]} {word}"
        if len(longer) <= console.width - len(" \\"):
            lines[-1] = longer
        else:
            lines.append(f"      {word}")
    for line in (f"next, for {step.purpose}:", *(f"{line} \\" for line in lines[:-1]), lines[-1]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_answer(console: Console, summary: Summary) -> None:
    found = headline(summary)
    console.print()
    print_wrapped(console, f"{found}.", style="bold")
    if summary.tuning:
        print_wrapped(console, found.note)
        console.print()
        return
    is_below = len(summary.search or summary.comparisons) > 1 or not any(c.inferences_per_s for c in summary.cells)
    print_wrapped(console, found.scope if is_below else found.note)
    console.print()


def print_wrapped(console: Console, text: str, *, style: str | None = None) -> None:
    """Print lines that break between words at the console's width, what follows indented."""
    for line in text.splitlines():
        wrapped = textwrap.wrap(
            line, console.width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for part in wrapped or [""]:
            console.print(part, style=style, markup=False, highlight=False, soft_wrap=True)


def _main_table(title: str, names: tuple[str, ...], rows: list[tuple[str, ...]], dropped: Iterable[str]) -> Table:
    table = _table(title)
    kept = [number for number, name in enumerate(names) if name not in dropped]
    for name in (names[number] for number in kept):
        table.add_column(name, justify="left" if name in _LEFT_ALIGNED else "right", no_wrap=True)
    for values in rows:
        table.add_row(*(escape(values[number]) for number in kept))
    return table


def _dropped(summary: Summary, console: Console) -> tuple[str, ...]:
    """The columns that are left out so that all rows fit into the console, if they then do."""
    names, rows = columns(summary), [row(cell, summary) for cell in summary.cells]
    for count in range(len(DROPPED_FIRST) + 1):
        dropped = tuple(name for name in DROPPED_FIRST[:count] if name in names)
        if _width(console, _main_table("", names, rows, dropped)) <= console.width:
            break
    return dropped


def tuning_table(found: TuningResult) -> ReportTable:
    return ReportTable(tuning_tables.title(found), tuning_tables.columns(found), 1, tuning_tables.rows(found))


def more_tables(summary: Summary) -> list[ReportTable]:
    """The tables below that of the results."""
    names = row_names(summary)
    costs = [*cost_tables(summary, names), *gpu_tables(summary, names), *client_tables(summary, names)]
    return [*model_tables(summary, names), *costs, *node_tables(summary, names)]


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
    there = console.width
    console.width = max(_width(console, table), there)  # print(width=) goes up to the console's own alone
    console.print(table, crop=False, no_wrap=True, overflow="ignore", soft_wrap=True)
    console.width = there


def _width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum


def markdown(summary: Summary, *, is_detailed: bool = False) -> str:
    """The same as Markdown."""
    names = columns(summary)
    rules = ("---" if name in ("server", "doubts") else "---:" for name in names)
    rows: list[tuple[str, ...]] = [("model", *names), ("---", *rules)]
    rows += [(cell.model, *row(cell, summary)) for cell in summary.cells]
    answer = headline(summary)
    lines = [
        f"**{answer}.** {answer.scope if len(summary.comparisons) > 1 else answer.note}".rstrip(),
        "",
        f"{summary.run.name}: {title(summary)}",
        "",
        *map(markdown_row, rows),
        "",
    ]
    for found in summary.search or ():
        names = search_tables.columns(found)
        curve = [names, ("---:",) * (len(names) - 1) + ("---",), *search_tables.rows(found)]
        lines += [f"**{search_tables.title(found)}**", "", *map(markdown_row, curve), ""]
    tuned = [tuning_table(summary.tuning)] if summary.tuning else []
    for each in [*tuned, *(more_tables(summary) if is_detailed else ())]:
        rule = ("---",) * each.words + ("---:",) * (len(each.columns) - each.words)
        lines += [f"**{each.title}**", "", *map(markdown_row, [each.columns, rule, *each.rows]), ""]
    return "\n".join([*lines, *(f"- {' '.join(line.split())}" for line in _notes(summary))]) + "\n"


def markdown_row(values: Iterable[str]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(values) + " |"


def _notes(summary: Summary) -> Iterator[str]:
    """What qualifies the table, a sentence each. A single comparison is the headline, and is not printed again."""
    load_of = loads(summary)
    judged = sum(each.verdict is not None for each in summary.comparisons)
    if summary.search and len(summary.search) > 1:
        yield from map(search_tables.headline, summary.search)
    if len(summary.comparisons) > 1 or summary.search:
        yield from (comparison(each, judged) for each in summary.comparisons)
    yield from (f"threshold {each.threshold}: {outcome(each, load_of[each.cell])}" for each in summary.thresholds)
    if not summary.tuning:
        yield from (
            f"{cell.label}, {cell.model}: {cell.status}: {cell.reason}" for cell in summary.cells if cell.reason
        )
    yield from tuning_tables.reasons(summary.tuning) if summary.tuning else ()
    yield from notes(summary, row_names(summary))
    yield from map(str, doubt_notes(summary))
    yield from map(sentences.damage, summary.damaged)
