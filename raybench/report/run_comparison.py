"""Two results folders: first in what they differ, then each row against the same one, by the statistics of a run."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raybench import config
from raybench.analysis import comparisons
from raybench.analysis.comparisons import NO_DIFFERENCE, THROUGHPUT, Comparison, Pair, value_of
from raybench.analysis.latency import PERCENTILES, samples_needed
from raybench.analysis.plain_numbers import plain
from raybench.analysis.summary import summarize
from raybench.analysis.trial_summary import TrialSummary
from raybench.config import ConfigError, Threshold
from raybench.report import junit, sentences, text
from raybench.report.differences import MACHINE, ComparedRun, Difference, differences
from raybench.report.junit import Case
from raybench.results import results_folder
from raybench.results.damage import DamagedFile

_COLUMNS = ("server", "model", "load", "metric", "base", "new", "ratio", "95 % interval", "rounds", "verdict")
BASE, NEW = "BASE", "NEW"
_TEXT = ("server", "model", "load", "metric", "verdict")


class ComparisonRow(NamedTuple):
    """A comparison with what stood on either side, the geometric mean over its rounds; `missed` are conditions."""

    comparison: Comparison
    load: str
    base: float
    new: float
    missed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """What two runs come to. `lost` says what BASE measured and NEW did not, `others` what else stands alone, and
    `damaged` which files could not be trusted, by the side that they are of."""

    base: str
    new: str
    differences: tuple[Difference, ...]
    rows: tuple[ComparisonRow, ...]
    lost: tuple[str, ...]
    others: tuple[str, ...]
    fail_on: tuple[str, ...]
    damaged: Mapping[str, tuple[DamagedFile, ...]]

    @property
    def is_damaged(self) -> bool:
        """Whether a file that either run has could not be trusted."""
        return any(self.damaged.values())

    @property
    def is_missed(self) -> bool:
        """Whether a condition holds for any row, or a row is gone that it could have held for."""
        return bool(self.fail_on) and (bool(self.lost) or any(row.missed for row in self.rows))


def compare(base: Path, new: Path, fail_on: Sequence[str] = ()) -> RunComparison:
    """Compare two results folders; raises ResultsError, or ConfigError for a condition or where they share no row."""
    conditions = [_condition(each) for each in fail_on]
    before, after = _run(base), _run(new)
    metrics = [each.metric for each in conditions]
    found = comparisons.between(before.summary.trials, after.summary.trials, metrics)
    lost, others = _alone(before, after, {(_any(pair).cell, c.metric) for pair, c in found}, metrics)
    damaged = {BASE: before.summary.damaged, NEW: after.summary.damaged}
    if not found:
        why = "; ".join((*lost, *others, *_damage(damaged)))
        raise ConfigError(f"{base} and {new} share no row that could be compared; {why}")
    return RunComparison(
        base=str(base),
        new=str(new),
        differences=differences(before, after),
        rows=tuple(_row(pair, c, conditions) for pair, c in found),
        lost=lost,
        others=others,
        fail_on=tuple(fail_on),
        damaged=damaged,
    )


def _condition(written: str) -> Threshold:
    found = config.ratio(written)
    if found is None:
        names = ", ".join((THROUGHPUT, *comparisons.LATENCIES)).replace("_", ".")
        raise ConfigError(f"fail-on is {written}; write a ratio of NEW to BASE such as throughput<0.95, of {names}")
    return found


def _run(folder: Path) -> ComparedRun:
    results = results_folder.load(folder)
    try:
        asked = yaml.safe_load(results.benchmark) or {}
        if not isinstance(asked, dict):
            raise ValueError("it is not a mapping")
        return ComparedRun(summarize(results), asked)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        unread = DamagedFile(path="benchmark.yaml", reason=f"cannot be read as YAML: {' '.join(str(error).split())}")
        return ComparedRun(summarize(replace(results, damaged=(*results.damaged, unread))), {})


def _row(pair: Pair, c: Comparison, conditions: Sequence[Threshold]) -> ComparisonRow:
    """A condition holds unless the rounds may be chance; of one round, which has no verdict, the ratio decides."""
    is_shown = c.verdict != NO_DIFFERENCE
    missed = tuple(each.text for each in conditions if each.metric == c.metric and each.holds(c.ratio) and is_shown)
    both = pair.base.keys() & pair.server.keys()
    base, new = (_mean(value_of(c.metric, side[n]) for n in both) for side in (pair.base, pair.server))
    return ComparisonRow(c, _load(_any(pair)), base, new, missed)


def _mean(values: Iterable[float | None]) -> float:
    """The geometric mean of what is known."""
    return float(np.exp(np.mean([np.log(value) for value in values if value])))


def _damage(damaged: Mapping[str, tuple[DamagedFile, ...]]) -> Iterator[str]:
    return (f"damaged in {side}: {each}" for side, files in damaged.items() for each in files)


def _any(pair: Pair) -> TrialSummary:
    return next(iter(pair.server.values()))


def _load(trial: TrialSummary) -> str:
    load = trial.load
    sent = f"{load.offered_rps:g}/s" if load.offered_rps else f"{load.in_flight} in flight"
    return f"{sent} of {load.batch_size}"


def _alone(
    before: ComparedRun, after: ComparedRun, found: Collection[tuple[str, str]], metrics: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences on rows of BASE that have no counterpart in NEW, and on rows that BASE cannot judge."""
    base, new = _cells(before), _cells(after)
    lost, others = list[str](), list[str]()
    for cell, trials in base.items():
        both = comparisons.whole_pair(trials, new.get(cell, ()))
        if not any(map(comparisons.is_whole, trials)):
            others.append(f"{_name(trials)} was {trials[0].status} in BASE")
        elif both is None:
            lost.append(f"{_name(trials)} {_what_became(new.get(cell))}")
        else:
            wanted = comparisons.metrics_of(both, metrics)
            lost += [f"{_name(trials)} {_unknown(name, both)}" for name in wanted if (cell, name) not in found]
    others += [f"{_name(trials)} is only in NEW" for cell, trials in new.items() if cell not in base]
    return tuple(lost), tuple(others)


def _unknown(metric: str, pair: Pair) -> str:
    """Why rounds that both finished have no such metric to compare."""
    sides = {BASE: pair.base, NEW: pair.server}
    unknown = [side for side, rounds in sides.items() if any(value_of(metric, t) is None for t in rounds.values())]
    named = metric.replace("_", ".")
    if metric not in PERCENTILES or not unknown:
        return f"has no {named} to compare"
    counts = [t.latency_ms.n if t.latency_ms else 0 for side in unknown for t in sides[side].values()]
    return (
        f"has no {named} in {' and '.join(unknown)}: it needs {samples_needed(PERCENTILES[metric])} requests in the "
        f"window, and there were {min(counts)}"
    )


def _cells(run: ComparedRun) -> dict[str, list[TrialSummary]]:
    cells: dict[str, list[TrialSummary]] = {}
    for trial in run.summary.trials:
        cells.setdefault(trial.cell, []).append(trial)
    return cells


def _name(trials: Sequence[TrialSummary]) -> str:
    return f"{trials[0].label}, {trials[0].model.name}, {_load(trials[0])}"


def _what_became(trials: Sequence[TrialSummary] | None) -> str:
    if trials is None:
        return "is only in BASE"
    bad = next((trial for trial in trials if trial.reason), None)
    if bad:
        return f"was {bad.status} in NEW: {bad.reason}"
    failed = sum(trial.requests.failed for trial in trials)
    return f"had {failed} failed requests in NEW" if failed else "has no round in common"


def print_comparison(console: Console, compared: RunComparison) -> None:
    """The differences, the rows and what they come to, on a terminal."""
    for line in _before(compared):
        console.print(escape(line), highlight=False, soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in _TEXT else "right", no_wrap=True)
    for row in compared.rows:
        table.add_row(*map(escape, _values(row)))
    text.print_whole(console, table)
    for line in _after(compared):
        console.print(escape(line), highlight=False, soft_wrap=True)


def markdown(compared: RunComparison) -> str:
    """The same as Markdown."""
    rules = ("---" if name in _TEXT else "---:" for name in _COLUMNS)
    table = [text.markdown_row(each) for each in (_COLUMNS, rules, *map(_values, compared.rows))]
    before, after = ([f"- {' '.join(line.split())}" for line in side(compared)] for side in (_before, _after))
    return "\n".join([*before, "", *table, "", *after]) + "\n"


def as_json(compared: RunComparison) -> str:
    """The same for programs."""
    plain = {
        **asdict(compared),
        "differences": [each._asdict() for each in compared.differences],
        "rows": [{**row._asdict(), "comparison": asdict(row.comparison)} for row in compared.rows],
    }
    return json.dumps(plain, indent=2) + "\n"


def as_junit(compared: RunComparison) -> str:
    """A case for each row, a failure where a condition holds; and one for each row that is gone."""
    rows = [
        Case(
            group=row.comparison.model,
            name=f"{row.comparison.server}, {row.load}, {row.comparison.metric}",
            outcome="failure" if row.missed else "passed",
            message=f"{', '.join(row.missed)}: {_ratio(row.comparison)}" if row.missed else "",
        )
        for row in compared.rows
    ]
    gone = [Case("lost", each, "failure" if compared.fail_on else "skipped", each) for each in compared.lost]
    damaged = [junit.of_damage(f"files of {side}", each) for side, files in compared.damaged.items() for each in files]
    return junit.xml(f"{compared.new} against {compared.base}", rows + gone + damaged)


def _before(compared: RunComparison) -> Iterator[str]:
    """What a reader must know before the numbers."""
    yield f"{compared.new} against {compared.base}"
    yield from (f"{each}; nothing below is from it" for each in _damage(compared.damaged))
    if any(each.kind == MACHINE for each in compared.differences):
        yield "These runs are from different machines: ratios include that difference."
    yield from (map(str, compared.differences) if compared.differences else ("No recorded setting differs.",))


def _after(compared: RunComparison) -> Iterator[str]:
    judged = sum(row.comparison.verdict is not None for row in compared.rows)
    for row in compared.rows:
        c = row.comparison
        if c.verdict == NO_DIFFERENCE and c.detectable is not None and c.detectable > 1:
            among = f", among {judged} comparisons" if judged > 1 else ""
            yield f"{c.server}, {c.model}, {row.load}: {_metric(c)}: {sentences.seen(c)}{among}"
        if c.verdict is None:
            yield f"{c.server}, {c.model}, {row.load}: {_metric(c)}: one round: no interval, no verdict"
        yield from (f"failed on {each}: {c.server}, {c.model}, {row.load}: {_ratio(c)}" for each in row.missed)
    yield from (f"{'failed: ' if compared.fail_on else ''}{each}" for each in compared.lost)
    yield from compared.others


def _values(row: ComparisonRow) -> tuple[str, ...]:
    c = row.comparison
    interval = "–" if c.low is None or c.high is None else f"{c.low:.3f}-{c.high:.3f}"
    sides = (plain(row.base, 4), plain(row.new, 4), f"{c.ratio:.3f}")
    return c.server, c.model, row.load, _metric(c), *sides, interval, str(c.rounds), c.verdict or "–"


def _metric(c: Comparison) -> str:
    return f"{c.unit}/s" if c.metric == THROUGHPUT else f"{c.metric.replace('_', '.')} ms"


def _ratio(c: Comparison) -> str:
    interval = "" if c.low is None or c.high is None else f", 95 % interval {c.low:.3f}-{c.high:.3f}"
    return f"{c.ratio:.3f} times the {_metric(c)}{interval} over {c.rounds} round{'s' if c.rounds != 1 else ''}"
