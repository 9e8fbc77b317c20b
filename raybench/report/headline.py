"""What a run found, in one sentence and what qualifies it; pure."""

from math import log
from typing import NamedTuple

from raybench.analysis.cells import CellSummary
from raybench.analysis.comparisons import NO_DIFFERENCE, Comparison
from raybench.analysis.search.strategy import SearchResult
from raybench.analysis.summary import Summary
from raybench.report import result_table, search_tables, sentences, tuning_tables


class Headline(NamedTuple):
    """A sentence around its one number, among what it is chosen, and what it rests on."""

    before: str
    number: str
    after: str
    scope: str
    evidence: str

    @property
    def note(self) -> str:
        """What qualifies the sentence."""
        return " ".join(part for part in (self.scope, self.evidence) if part)

    def __str__(self) -> str:
        return " ".join(part for part in (self.before, self.number, self.after) if part)


def headline(summary: Summary) -> Headline:
    """The answer of a search, else the largest difference that is shown, else the first server's throughput."""
    if summary.tuning:
        return Headline(*tuning_tables.headline(summary.tuning), "", tuning_tables.evidence(summary.tuning))
    if summary.search:
        return _searched(summary.search)
    if summary.comparisons:
        return _compared(summary.comparisons)
    measured = [cell for cell in summary.cells if cell.inferences_per_s]
    if not measured:
        why = next((cell.reason for cell in summary.cells if cell.reason), "nothing was measured yet")
        return Headline("No server gave a number", "", "", "", why)
    return _served(
        max(measured, key=lambda cell: cell.inferences_per_s.mean if cell.inferences_per_s else 0), len(measured)
    )


def _searched(all_found: tuple[SearchResult, ...]) -> Headline:
    found = max(all_found, key=lambda each: each.feasible_max or 0)
    note = search_tables.headline(found)
    if found.feasible_max is None:
        held = "held no load of" if found.is_over else "has no answer for"
        return Headline(
            f"{found.server} {held} {found.model}{' that was tried' if found.is_over else ''}", "", "", "", note
        )
    load = f"{found.feasible_max:g} {search_tables.word(found)}"
    if not found.is_over:
        return Headline(
            f"The search of {found.server} ended before its answer, and", load, f"of {found.model} held", "", note
        )
    return Headline(f"{found.server} holds", load, f"of {found.model}", "", note)


def _compared(comparisons: tuple[Comparison, ...]) -> Headline:
    shown = [each for each in comparisons if each.verdict in ("faster", "slower")]
    most = max(shown or comparisons, key=lambda each: abs(log(each.ratio)))
    several = f"The largest of {len(shown)} differences that are shown." if len(shown) > 1 else ""
    if most.verdict is None:
        before, after = f"In one round {most.server} served {most.model}", f"as fast as {most.base}, without a verdict"
        sentence = (before, f"{most.ratio:.2f} times", after)
    elif shown:
        sentence = (f"{most.server} serves {most.model}", f"{most.ratio:.2f} times", f"as fast as {most.base}")
    else:
        sentence = (f"No difference shown between {most.server} and {most.base} on {most.model}", "", "")
    return Headline(*sentence, several, _evidence(most, len(comparisons)))


def _evidence(c: Comparison, judged: int) -> str:
    if c.in_flight == c.base_in_flight:
        return _proof(c, judged)
    lanes = f"It had {c.in_flight} requests in flight, {c.base} {c.base_in_flight}"
    return f"{_proof(c, judged)} {lanes}: latencies are not comparable."


def _proof(c: Comparison, judged: int) -> str:
    if c.low is None or c.high is None:
        return "Use --rounds 5 for an interval and a verdict."
    found = f"{c.ratio:.2f} times the {c.unit}/s, 95 % interval {c.low:.2f}–{c.high:.2f}, {c.rounds} rounds"
    if c.verdict != NO_DIFFERENCE or c.detectable is None:
        return f"{found}."
    among = f" among {judged} comparisons" if not c.low <= 1 <= c.high else ""
    return f"{found}{among}; {sentences.seen(c)}."


def _served(cell: CellSummary, measured: int) -> Headline:
    best = "The fastest of what was measured." if measured > 1 else ""
    p99 = f"p99 {result_table.ms(cell.p99_ms)} ms" if cell.p99_ms is not None else "Too few requests for a p99"
    rate = result_table.interval(cell.inferences_per_s, digits=1)
    return Headline(f"{cell.label} serves {cell.model} at", f"{rate} {cell.unit}/s", "", best, f"{p99}.")
