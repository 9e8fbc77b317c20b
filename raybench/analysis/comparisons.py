"""Which is faster: throughput or latency paired by round, on the log scale, with the difference it can detect; pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import nctdtrinc, stdtr, stdtrit

from raybench.analysis.cells import interval
from raybench.analysis.latency import CONFIDENCE, PERCENTILES
from raybench.analysis.trial_summary import TrialSummary

POWER = 0.8
THROUGHPUT = "throughput"
NO_DIFFERENCE = "no difference shown"
LATENCIES = ("mean", *PERCENTILES, "max")  # of response, in a closed loop of service

_Rounds = Mapping[int, TrialSummary]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A metric of a server over that of another on the same model, paired by round.

    `metric` is throughput, or one of LATENCIES, of which the lower is the faster. With one round there is a ratio and
    nothing else. `detectable` is the ratio, above 1, that such rounds tell from 1 in 8 of 10 runs. The verdict allows
    for all comparisons of the run.
    """

    metric: str
    model: str
    base: str
    server: str
    unit: str
    batch_size: int
    base_in_flight: int
    in_flight: int
    ratio: float
    low: float | None
    high: float | None
    rounds: int
    p_value: float | None
    detectable: float | None
    verdict: str | None


class Pair(NamedTuple):
    """A cell and the one it is compared with, each by round."""

    base: _Rounds
    server: _Rounds


def compare(trials: Iterable[TrialSummary], baseline: str | None = None) -> tuple[Comparison, ...]:
    """Every server against the baseline: the geometric mean of the ratios of each round, and a verdict."""
    return tuple(c for _, c in _judged((THROUGHPUT, pair) for pair in pairs(trials, baseline)))


def pairs(trials: Iterable[TrialSummary], baseline: str | None = None) -> tuple[Pair, ...]:
    """Cells that may be compared, with the one of the baseline (a label or a kind), else of local, else the first.

    Both have the same model, signature and batch size, and the same load, unless the baseline was measured under one
    load only, as TensorFlow in process is: then it is compared with all. Scripted servers are compared among
    themselves.
    """
    cells: dict[tuple[bool, str, str, int], dict[str, dict[int, TrialSummary]]] = {}
    for trial in filter(_is_comparable, trials):
        is_fake = trial.server.kind == "fake"
        alike = (is_fake, trial.model.name, trial.signature, trial.load.batch_size)
        cells.setdefault(alike, {}).setdefault(trial.cell, {})[trial.round] = trial
    return tuple(pair for _, each in sorted(cells.items()) for pair in _paired(list(each.values()), baseline))


def between(
    base: Iterable[TrialSummary], new: Iterable[TrialSummary], metrics: Sequence[str] = ()
) -> tuple[tuple[Pair, Comparison], ...]:
    """Every cell of a run against the same cell of an earlier one, by the same statistics.

    Closed loops by their throughput, open ones by their p99, because the offered rate sets the throughput; and all by
    `metrics`.
    """
    before, after = _by_cell(base), _by_cell(new)
    both = [Pair(before[cell], after[cell]) for cell in after if cell in before]
    return _judged((name, pair) for pair in both for name in metrics_of(pair, metrics))


def metrics_of(pair: Pair, metrics: Sequence[str]) -> tuple[str, ...]:
    """That of its loop, and those that are asked for, each once."""
    return tuple(dict.fromkeys((_of_its_loop(pair), *metrics)))


def whole_pair(base: Iterable[TrialSummary], new: Iterable[TrialSummary]) -> Pair | None:
    """The rounds of one cell that both runs finished; None where there is none."""
    before, after = ({trial.round: trial for trial in side if is_whole(trial)} for side in (base, new))
    both = before.keys() & after.keys()
    return Pair({n: before[n] for n in both}, {n: after[n] for n in both}) if both else None


def _by_cell(trials: Iterable[TrialSummary]) -> dict[str, dict[int, TrialSummary]]:
    cells: dict[str, dict[int, TrialSummary]] = {}
    for trial in filter(is_whole, trials):
        cells.setdefault(trial.cell, {})[trial.round] = trial
    return cells


def _of_its_loop(pair: Pair) -> str:
    return THROUGHPUT if _is_closed(_any(pair.base)) else "p99"


def _judged(asked: Iterable[tuple[str, Pair]]) -> tuple[tuple[Pair, Comparison], ...]:
    paired = [(name, pair, logs) for name, pair in asked if len(logs := _log_ratios(name, pair))]
    family = sum(len(logs) > 1 for _, _, logs in paired)
    compared = _with_verdicts([_compared(*each, family) for each in paired])
    return tuple(zip((pair for _, pair, _ in paired), compared, strict=True))


def detectable_ratio(scatter: float, rounds: int, *, level: float = 1 - CONFIDENCE) -> float:
    """The ratio that a two-sided paired t test at this level tells from 1 with a power of 80 %.

    `scatter` is the standard deviation of the log ratios over `rounds`, two or more. The test statistic of a true log
    ratio d follows the noncentral t with noncentrality d √rounds / scatter; d is where it exceeds the critical value
    with that power (Cohen, Statistical Power Analysis, 2nd ed., 2.2; the far tail, under 1e-3 here, is left out).
    """
    critical = stdtrit(rounds - 1, 1 - level / 2)
    return float(np.exp(nctdtrinc(rounds - 1, 1 - POWER, critical) * scatter / np.sqrt(rounds)))


def _paired(cells: list[_Rounds], baseline: str | None) -> Iterator[Pair]:
    ordered = sorted(cells, key=lambda rounds: (_any(rounds).label, _any(rounds).load.in_flight))
    against = _against([_any(rounds) for rounds in ordered], baseline)
    bases = {_lanes(rounds): rounds for rounds in ordered if _any(rounds).label == against}
    only = next(iter(bases.values())) if len(bases) == 1 else None
    for ours in ordered:
        theirs = bases.get(_lanes(ours), only)
        if theirs and _any(ours).label != against:
            yield Pair(theirs, ours)


def _against(there: Sequence[TrialSummary], baseline: str | None) -> str:
    """The label of the server that the others are compared with."""
    wanted = (trial.label for name in (baseline, "local") for trial in there if name in _names(trial))
    return next(wanted, there[0].label)


def _names(trial: TrialSummary) -> tuple[str, str]:
    return trial.label, trial.server.kind


def _any(rounds: _Rounds) -> TrialSummary:
    return next(iter(rounds.values()))


def _lanes(rounds: _Rounds) -> tuple[int, int | None]:
    load = _any(rounds).load
    return load.workers, load.concurrency


def _is_comparable(trial: TrialSummary) -> bool:
    """In closed loop: an open one offers every server the same."""
    return is_whole(trial) and _is_closed(trial)


def is_whole(trial: TrialSummary) -> bool:
    """Only whole trials without a failed request are compared."""
    return trial.status == "ok" and not trial.requests.failed and (value_of(THROUGHPUT, trial) or 0) > 0


def _is_closed(trial: TrialSummary) -> bool:
    return trial.load.arrivals == "closed"


def value_of(metric: str, trial: TrialSummary) -> float | None:
    """Inferences/s, or milliseconds; None where a trial does not have it, or its sample does not support it."""
    if metric == THROUGHPUT:
        return trial.throughput.inferences_per_s if trial.throughput else None
    latency = trial.latency_ms
    value: float | None = getattr(latency, metric) if latency else None
    return value


def _log_ratios(metric: str, pair: Pair) -> np.ndarray:
    """Of each round that both finished, and in which both have it."""
    both = sorted(pair.base.keys() & pair.server.keys())
    values = [(value_of(metric, pair.server[n]), value_of(metric, pair.base[n])) for n in both]
    return np.log([ours / theirs for ours, theirs in values if ours and theirs])


def _compared(metric: str, pair: Pair, logs: np.ndarray, family: int) -> Comparison:
    """One of `family` comparisons, without its verdict."""
    base, server = _any(pair.base), _any(pair.server)
    found, level = interval(logs), (1 - CONFIDENCE) / max(1, family)
    low, high = (None if v is None else float(np.exp(v)) for v in ((found.low, found.high) if found else (None, None)))
    return Comparison(
        metric=metric,
        model=server.model.name,
        base=base.label,
        server=server.label,
        unit=server.unit,
        batch_size=server.load.batch_size,
        base_in_flight=base.load.in_flight,
        in_flight=server.load.in_flight,
        ratio=float(np.exp(logs.mean())),
        low=low,
        high=high,
        rounds=len(logs),
        p_value=_p_value(logs) if len(logs) > 1 else None,
        detectable=detectable_ratio(logs.std(ddof=1), len(logs), level=level) if len(logs) > 1 else None,
        verdict=None,
    )


def _p_value(logs: np.ndarray) -> float:
    """Of the two-sided t test that the mean of two or more log ratios is 0."""
    error = logs.std(ddof=1) / np.sqrt(len(logs))
    if error == 0:
        return float(logs.mean() == 0)
    return float(2 * stdtr(len(logs) - 1, -abs(logs.mean()) / error))


def _with_verdicts(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Holm's procedure: however many servers are compared, a run without any difference shows none in 95 of 100.

    Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979): the smallest of m
    p-values is compared with 5 % / m, the next with 5 % / (m − 1), until one is not below; any dependence is allowed.
    """
    judged = sorted((c.p_value, i) for i, c in enumerate(comparisons) if c.p_value is not None)
    verdicts, shown = dict[int, str](), True
    for rank, (p_value, i) in enumerate(judged):
        shown = shown and p_value < (1 - CONFIDENCE) / (len(judged) - rank)
        verdicts[i] = _direction(comparisons[i]) if shown else NO_DIFFERENCE
    return tuple(replace(c, verdict=verdicts.get(i)) for i, c in enumerate(comparisons))


def _direction(c: Comparison) -> str:
    return "faster" if (c.ratio > 1) == (c.metric == THROUGHPUT) else "slower"
