"""What a Summary says beside its tables, a sentence each: comparisons, thresholds and doubts."""

from math import ceil
from typing import NamedTuple

from raybench.analysis.comparisons import NO_DIFFERENCE, Comparison
from raybench.analysis.doubt import Doubt
from raybench.analysis.plain_numbers import plain
from raybench.analysis.summary import Summary
from raybench.analysis.threshold_outcomes import ThresholdOutcome
from raybench.config.plan import Load
from raybench.report.result_table import letters, row_names
from raybench.results.damage import DamagedFile

_ROWS_NAMED = 3
_LARGEST = 100  # a larger factor says no more


def comparison(c: Comparison, judged: int) -> str:
    """One of so many comparisons with a verdict, in a line."""
    in_flight = f"in flight {c.in_flight} against {c.base_in_flight}"
    ratio = f"{c.server} / {c.base} on {c.model}, batch {c.batch_size}, {in_flight}: {c.ratio:.2f} times the {c.unit}/s"
    if c.low is None or c.high is None or c.detectable is None:
        return f"{ratio} (one round: no interval, no verdict)"
    found = f"{ratio}, 95 % interval {c.low:.2f}-{c.high:.2f} over {c.rounds} rounds: {c.verdict}"
    if c.verdict != NO_DIFFERENCE:
        return found
    among = f" among {judged} comparisons" if not c.low <= 1 <= c.high else ""
    return f"{found}{among}; {seen(c)}"


def outcome(o: ThresholdOutcome, load: Load) -> str:
    """Whether a row met a threshold, with its load."""
    found = {None: f"could not be judged: {o.unknown}", True: "met", False: "missed"}[o.is_met]
    value = f"{plain(o.value, 4)}, " if o.value is not None else ""
    return f"{o.label}, {o.model}, {load_words(load)}: {value}{found}"


def loads(summary: Summary) -> dict[str, Load]:
    """The load of each cell."""
    return {trial.cell: trial.load for trial in summary.trials}


def load_words(load: Load) -> str:
    """Such as 4 in flight, batch 8, or 20 requests/s, batch 8."""
    sent = f"{plain(load.offered_rps, 6)} requests/s" if load.offered_rps else f"{load.in_flight} in flight"
    return f"{sent}, batch {load.batch_size}"


def damage(each: DamagedFile) -> str:
    """A file that cannot be trusted, in a line."""
    return f"damaged: {each}; nothing in this report is from it"


def seen(c: Comparison) -> str:
    """What so many rounds would have shown, where they show no difference."""
    if c.detectable is None or c.detectable >= _LARGEST:
        return f"{c.rounds} rounds cannot detect even a factor of {_LARGEST}"
    return f"{c.rounds} rounds can only detect {difference(c.detectable)}"


def difference(ratio: float) -> str:
    """Of two servers that differ by this ratio, rounded up: what is claimed is never less than what was found."""
    if ratio >= 2:
        return f"a factor of {ceil(10 * ratio) / 10:.1f}"
    percent = 100 * (ratio - 1)
    return f"a difference of {ceil(percent) if percent > 10 else ceil(10 * percent) / 10:g} %"


class DoubtNote(NamedTuple):
    """A kind of doubt, with its letter and the rows that it is about, of all rows of the table.

    The sentence is that of the row and round that exceed the limit most; `is_worst`: others have another.
    """

    letter: str
    rows: tuple[str, ...]
    all_rows: int
    is_worst: bool
    sentence: str
    remedy: str
    code: str

    def __str__(self) -> str:
        return f"{self.letter} {self.sentence}{self._where()}; {self.remedy} [{self.code}]"

    def _where(self) -> str:
        """The rows by name where there are few, by number where there are many, not at all where it is all of one."""
        where = ", ".join(self.rows)
        if len(self.rows) == self.all_rows:
            where = "" if self.all_rows == 1 else "all rows"
        elif len(self.rows) > _ROWS_NAMED:
            where = f"{len(self.rows)} of {self.all_rows} rows"
        said = ", ".join(part for part in (where, "worst shown" if self.is_worst else "") if part)
        return f" ({said})" if said else ""


def doubt_notes(summary: Summary) -> list[DoubtNote]:
    """One for each kind, in order of their letters."""
    names = row_names(summary)
    found: dict[str, list[tuple[str, Doubt]]] = {}
    for trial in summary.trials:
        for doubt in trial.doubts:
            found.setdefault(doubt.code, []).append((names[trial.cell], doubt))
    letter_of = letters(summary)
    return [_note(letter_of[code], each, len(names)) for code, each in found.items()]


def _note(letter: str, found: list[tuple[str, Doubt]], all_rows: int) -> DoubtNote:
    worst = max((doubt for _, doubt in found), key=_excess)
    rows = tuple(dict.fromkeys(row for row, _ in found))
    is_worst = len({doubt.sentence for _, doubt in found}) > 1
    return DoubtNote(letter, rows, all_rows, is_worst, worst.sentence, worst.remedy, worst.code)


def _excess(doubt: Doubt) -> float:
    return 0.0 if doubt.value is None or doubt.limit is None else abs(doubt.value - doubt.limit)
