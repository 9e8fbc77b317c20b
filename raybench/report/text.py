"""A Summary as a table for a terminal, or as Markdown."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from math import ceil
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from raybench.analysis.cells import CellSummary, Interval
from raybench.analysis.comparisons import NO_DIFFERENCE, Comparison
from raybench.analysis.doubts.measurement import Doubt
from raybench.analysis.search.strategy import Found
from raybench.analysis.threshold_outcomes import Outcome
from raybench.report import Summary, cost_tables, node_tables, search_tables

_COLUMNS = ("server", "in flight", "images/s", "p50 ms", "p90 ms", "p99 ms", "ok", "failed", "time s", "MiB", "doubts")
_DASH = "–"
_WIDEST = 500
_HOPELESS = 100  # a larger factor says no more


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
    for sheet in sheets(summary):
        print_whole(console, _sheet(sheet))
    for line in _notes(summary):
        console.print(escape(line), highlight=False, soft_wrap=not wrap)
    console.print(f"\nresults in {folder}", highlight=False, soft_wrap=True)


def sheets(summary: Summary) -> list[cost_tables.Sheet]:
    """The tables below that of the results."""
    names = row_names(summary)
    return [*cost_tables.sheets(summary, names), *node_tables.sheets(summary, names)]


def _curve(found: Found) -> Table:
    table = _table(search_tables.title(found))
    for name in search_tables.columns(found):
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    for values in search_tables.rows(found):
        table.add_row(*values)
    return table


def _sheet(sheet: cost_tables.Sheet) -> Table:
    table = _table(sheet.title)
    for number, name in enumerate(sheet.columns):
        table.add_column(name, justify="left" if number < sheet.words else "right", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*map(escape, row))
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
    lines = [f"**{summary.run['name']}: {title(summary)}**", "", *map(markdown_row, rows), ""]
    for found in summary.search or ():
        names = search_tables.columns(found)
        curve = [names, ("---:",) * (len(names) - 1) + ("---",), *search_tables.rows(found)]
        lines += [f"**{search_tables.title(found)}**", "", *map(markdown_row, curve), ""]
    for sheet in sheets(summary):
        rule = ("---",) * sheet.words + ("---:",) * (len(sheet.columns) - sheet.words)
        lines += [f"**{sheet.title}**", "", *map(markdown_row, [sheet.columns, rule, *sheet.rows]), ""]
    return "\n".join([*lines, *(f"- {' '.join(line.split())}" for line in _notes(summary))]) + "\n"


def markdown_row(values: Iterable[str]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(values) + " |"


def _notes(summary: Summary) -> list[str]:
    judged = sum(each.verdict is not None for each in summary.comparisons)
    return [
        *map(search_tables.headline, summary.search or ()),
        *(comparison(each, judged) for each in summary.comparisons),
        *(f"threshold {each.threshold}: {outcome(each)}" for each in summary.thresholds),
        *(f"{cell.label}, {cell.model}: {cell.status}: {cell.reason}" for cell in summary.cells if cell.reason),
        *cost_tables.notes(summary, row_names(summary)),
        *map(str, doubts(summary)),
    ]


def title(summary: Summary) -> str:
    """What was sent, in which loop, and in how many rounds."""
    rounds = max((trial.round for trial in summary.trials), default=0)
    batches = ", ".join(map(str, _batches(summary)))
    return f"{batches} images a request{_files(summary)}, {_loops(summary)}, {rounds} round{'s' if rounds != 1 else ''}"


def _files(summary: Summary) -> str:
    """What stands for an image where it is not its pixels."""
    found = {trial.payload.encoding: trial.payload.image_bytes for trial in summary.trials if trial.payload}
    return "".join(f" ({name}, {size / 1e3:.3g} kB an image)" for name, size in found.items() if name != "uint8 NHWC")


def _loops(summary: Summary) -> str:
    """What the percentiles are of: service in a closed loop, response in an open one."""
    arrivals = sorted({trial.load["arrivals"] for trial in summary.trials} - {"closed"})
    if not arrivals:
        return "closed loop"
    mixed = len(arrivals) < len({trial.load["arrivals"] for trial in summary.trials})
    return f"open loop ({', '.join(arrivals)} arrivals: response times){' and closed loop' if mixed else ''}"


def _is_open(summary: Summary) -> bool:
    return any(cell.offered_rps for cell in summary.cells)


def _has_headroom(summary: Summary) -> bool:
    return any(cell.headroom for cell in summary.cells)


def _headroom(cell: CellSummary) -> str:
    """Two significant digits say whether it is enough."""
    return _DASH if cell.headroom is None else f"{float(f'{cell.headroom:.2g}'):g}x"


def _batches(summary: Summary) -> list[int]:
    return sorted({trial.load["batch_size"] for trial in summary.trials})


def columns(summary: Summary) -> tuple[str, ...]:
    """The batch size has a column where it is not the same everywhere, the rates where there is an open loop, and how
    many times as much the client could do where that was measured."""
    batch = ("batch",) if len(_batches(summary)) > 1 else ()
    rates = ("offered/s", "achieved/s") if _is_open(summary) else ()
    headroom = ("headroom",) if _has_headroom(summary) else ()
    return (_COLUMNS[0], *batch, *_COLUMNS[1:2], *rates, *_COLUMNS[2:3], *headroom, *_COLUMNS[3:])


def row(cell: CellSummary, summary: Summary) -> tuple[str, ...]:
    """The cells of a row, under `columns`; a dash for what is not known."""
    trials = [trial for trial in summary.trials if trial.id in cell.trials]
    letters, load = _letters(summary), trials[0].load
    return (
        cell.label if cell.status == "ok" else f"{cell.label}: {cell.status}",
        *([str(load["batch_size"])] if len(_batches(summary)) > 1 else []),
        f"≤ {load['in_flight']}" if cell.offered_rps else str(load["in_flight"]),
        *([_rate(cell.offered_rps), interval(cell.achieved_rps, digits=1)] if _is_open(summary) else []),
        interval(cell.images_per_s, digits=1),
        *([_headroom(cell)] if _has_headroom(summary) else []),
        ms(cell.p50_ms),
        ms(cell.p90_ms),
        ms(cell.p99_ms),
        str(sum(trial.requests.succeeded for trial in trials)),
        str(sum(trial.requests.failed for trial in trials)),
        interval(cell.job_s, digits=1),
        _memory(cell),
        " ".join(sorted({letters[doubt.code] for trial in trials for doubt in trial.doubts})),
    )


def _letters(summary: Summary) -> dict[str, str]:
    """A letter for each kind of doubt, in order of first appearance."""
    codes = dict.fromkeys(doubt.code for trial in summary.trials for doubt in trial.doubts)
    return dict(zip(codes, ascii_lowercase, strict=False))


def interval(value: Interval | None, *, digits: int) -> str:
    if value is None:
        return _DASH
    if value.low is None or value.high is None:
        return f"{value.mean:.{digits}f}"
    return f"{value.mean:.{digits}f} ± {(value.high - value.low) / 2:.{digits}f}"


def _rate(value: float | None) -> str:
    return _DASH if value is None else f"{value:.6g}"


def ms(value: float | None) -> str:
    """Three significant digits, and all digits of more than 999 ms."""
    return _DASH if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _number(value: float | None, *, digits: int) -> str:
    return _DASH if value is None else f"{value:.{digits}f}"


def _memory(cell: CellSummary) -> str:
    if cell.gpu_peak_mib is not None:
        return f"{_number(cell.memory_peak_mib, digits=0)} + {cell.gpu_peak_mib:.0f} GPU"
    return _number(cell.memory_peak_mib, digits=0)


def comparison(c: Comparison, judged: int) -> str:
    """One of so many comparisons with a verdict, in a line."""
    in_flight = f"in flight {c.in_flight} against {c.base_in_flight}"
    ratio = f"{c.server} / {c.base} on {c.model}, batch {c.batch_size}, {in_flight}: {c.ratio:.2f} times the images/s"
    if c.low is None or c.high is None or c.detectable is None:
        return f"{ratio} (one round: no interval, no verdict)"
    found = f"{ratio}, 95 % interval {c.low:.2f}-{c.high:.2f} over {c.rounds} rounds: {c.verdict}"
    if c.verdict != NO_DIFFERENCE:
        return found
    among = f" among {judged} comparisons" if not c.low <= 1 <= c.high else ""
    return f"{found}{among}; {seen(c.detectable)}"


def outcome(o: Outcome) -> str:
    """What became of a threshold in a row."""
    found = {None: "skipped", True: "met", False: "missed"}[o.is_met]
    unknown = "" if o.is_met is None else "not known, "
    return f"{o.label}, {o.model}: {f'{o.value:.4g}, ' if o.value is not None else unknown}{found}"


def seen(detectable: float) -> str:
    if detectable >= _HOPELESS:
        return f"even a factor of {_HOPELESS} could have gone unseen"
    return f"{_difference(detectable)} or more would have been seen"


def _difference(ratio: float) -> str:
    """Of two servers that differ by this ratio, rounded up: what is claimed is never less than what was found."""
    if ratio >= 2:
        return f"a factor of {ceil(10 * ratio) / 10:.1f}"
    percent = 100 * (ratio - 1)
    return f"a difference of {ceil(percent) if percent > 10 else ceil(10 * percent) / 10:g} %"


class Doubted(NamedTuple):
    """A kind of doubt in one wording, with its letter and the rows that it is about: none means all."""

    letter: str
    rows: tuple[str, ...]
    sentence: str
    remedy: str
    code: str

    def __str__(self) -> str:
        where = f"{', '.join(self.rows)}: " if self.rows else ""
        return f"{self.letter} {where}{self.sentence}; {self.remedy} [{self.code}]"


def doubts(summary: Summary) -> list[Doubted]:
    """In order of their letters. Of a row's rounds the one that exceeds the limit most stands for all."""
    names = row_names(summary)
    found: dict[tuple[str, str], list[Doubt]] = {}
    for trial in summary.trials:
        for doubt in trial.doubts:
            found.setdefault((doubt.code, names[trial.cell]), []).append(doubt)
    about: dict[tuple[str, str, str], list[str]] = {}
    for (code, row), each in found.items():
        worst = max(each, key=_excess)
        times = f" (the worst of {len(each)} rounds)" if len({doubt.sentence for doubt in each}) > 1 else ""
        about.setdefault((code, worst.sentence + times, worst.remedy), []).append(row)
    rows, letters = set(names.values()), _letters(summary)
    kinds = [
        Doubted(letters[code], () if set(where) == rows else tuple(sorted(where)), sentence, remedy, code)
        for (code, sentence, remedy), where in about.items()
    ]
    return sorted(kinds, key=lambda kind: kind.letter)


def row_names(summary: Summary) -> dict[str, str]:
    """What to call each cell: server and model, and its load where they are there under several."""
    plain = {trial.cell: f"{trial.label} {trial.model['name']}" for trial in summary.trials}
    counts = Counter(plain.values())
    loads = {trial.cell: trial.load for trial in summary.trials}
    return {
        cell: name if counts[name] == 1 else f"{name} ({_load(loads[cell])} x {loads[cell]['batch_size']})"
        for cell, name in plain.items()
    }


def _load(load: Mapping[str, Any]) -> str:
    return f"{load['offered_rps']:.6g}/s" if load["offered_rps"] else str(load["in_flight"])


def _excess(doubt: Doubt) -> float:
    return 0.0 if doubt.value is None or doubt.limit is None else abs(doubt.value - doubt.limit)
