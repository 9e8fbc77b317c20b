"""What a Summary says beside its tables, a sentence each: comparisons, thresholds and doubts."""

from math import ceil
from typing import NamedTuple

from raybench.analysis.comparisons import NO_DIFFERENCE, Comparison
from raybench.analysis.doubt import Doubt
from raybench.analysis.summary import Summary
from raybench.analysis.threshold_outcomes import ThresholdOutcome
from raybench.config.plan import Load
from raybench.report.result_table import letters, row_names
from raybench.results.damage import DamagedFile

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
    return f"{found}{among}; {seen(c.detectable)}"


def outcome(o: ThresholdOutcome, load: Load) -> str:
    """What became of a threshold in a row, with the load that it was held against."""
    found = {None: f"could not be judged: {o.unknown}", True: "met", False: "missed"}[o.is_met]
    value = f"{o.value:.4g}, " if o.value is not None else ""
    return f"{o.label}, {o.model}, {load_words(load)}: {value}{found}"


def loads(summary: Summary) -> dict[str, Load]:
    """The load of each cell."""
    return {trial.cell: trial.load for trial in summary.trials}


def load_words(load: Load) -> str:
    """Such as 4 in flight, batch 8, or 20 requests/s, batch 8."""
    sent = f"{load.offered_rps:.6g} requests/s" if load.offered_rps else f"{load.in_flight} in flight"
    return f"{sent}, batch {load.batch_size}"


def damage(each: DamagedFile) -> str:
    """A file that cannot be trusted, in a line."""
    return f"damaged: {each}; nothing in this report is from it"


def seen(detectable: float) -> str:
    if detectable >= _LARGEST:
        return f"even a factor of {_LARGEST} could have gone unseen"
    return f"{difference(detectable)} or more would have been seen"


def difference(ratio: float) -> str:
    """Of two servers that differ by this ratio, rounded up: what is claimed is never less than what was found."""
    if ratio >= 2:
        return f"a factor of {ceil(10 * ratio) / 10:.1f}"
    percent = 100 * (ratio - 1)
    return f"a difference of {ceil(percent) if percent > 10 else ceil(10 * percent) / 10:g} %"


class DoubtNote(NamedTuple):
    """A kind of doubt in one wording, with its letter and the rows that it is about: none means all."""

    letter: str
    rows: tuple[str, ...]
    sentence: str
    remedy: str
    code: str

    def __str__(self) -> str:
        where = f"{', '.join(self.rows)}: " if self.rows else ""
        return f"{self.letter} {where}{self.sentence}; {self.remedy} [{self.code}]"


def doubt_notes(summary: Summary) -> list[DoubtNote]:
    """In order of their letters. Of a row's rounds the one that exceeds the limit most stands for all."""
    names = row_names(summary)
    found: dict[tuple[str, str], list[Doubt]] = {}
    for trial in summary.trials:
        for doubt in trial.doubts:
            found.setdefault((doubt.code, trial.cell), []).append(doubt)
    about: dict[tuple[str, str, str], list[str]] = {}
    for (code, cell), each in found.items():
        worst = max(each, key=_excess)
        times = f" (the worst of {len(each)} rounds)" if len({doubt.sentence for doubt in each}) > 1 else ""
        about.setdefault((code, worst.sentence + times, worst.remedy), []).append(names[cell])
    rows, letter_of = set(names.values()), letters(summary)
    kinds = [
        DoubtNote(letter_of[code], () if set(where) == rows else tuple(sorted(where)), sentence, remedy, code)
        for (code, sentence, remedy), where in about.items()
    ]
    return sorted(kinds, key=lambda kind: kind.letter)


def _excess(doubt: Doubt) -> float:
    return 0.0 if doubt.value is None or doubt.limit is None else abs(doubt.value - doubt.limit)
