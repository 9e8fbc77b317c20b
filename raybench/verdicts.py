"""Which server is faster: throughput paired by round, on the log scale, with what could have been seen; pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import nctdtrinc, stdtr, stdtrit

from raybench.rounds import interval
from raybench.stats import CONFIDENCE, TrialSummary

POWER = 0.8

_Rounds = Mapping[int, TrialSummary]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Throughput of a server over that of another on the same model, paired by round.

    With one round there is a ratio and nothing else. `detectable` is the ratio, above 1, that such rounds tell from 1
    in 8 of 10 runs. The verdict allows for all comparisons of the run.
    """

    model: str
    base: str
    server: str
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
    """A cell and the one that it is held against, each by round."""

    base: _Rounds
    server: _Rounds


def compare(trials: Iterable[TrialSummary], baseline: str | None = None) -> tuple[Comparison, ...]:
    """Every server against the baseline: the geometric mean of the ratios of each round, and a verdict."""
    paired = [(pair, _log_ratios(pair)) for pair in pairs(trials, baseline)]
    family = sum(len(logs) > 1 for _, logs in paired)
    return _with_verdicts([_compared(pair, logs, family) for pair, logs in paired if len(logs)])


def pairs(trials: Iterable[TrialSummary], baseline: str | None = None) -> tuple[Pair, ...]:
    """Cells that may be compared, with the one of the baseline (a label or a kind), else of local, else the first.

    They have one model, signature and batch size, and the same load where the baseline has it; what it has but once,
    as TensorFlow in process, stands against every load. Scripted servers are held against each other alone.
    """
    cells: dict[tuple[bool, str, str, int], dict[str, dict[int, TrialSummary]]] = {}
    for trial in filter(_is_comparable, trials):
        is_fake = trial.server["kind"] == "fake"
        alike = (is_fake, trial.model["name"], trial.signature, trial.load["batch_size"])
        cells.setdefault(alike, {}).setdefault(trial.cell, {})[trial.round] = trial
    return tuple(pair for _, each in sorted(cells.items()) for pair in _paired(list(each.values()), baseline))


def detectable_ratio(scatter: float, rounds: int, *, level: float = 1 - CONFIDENCE) -> float:
    """The ratio that a two-sided paired t test at this level tells from 1 with a power of 80 %.

    `scatter` is the standard deviation of the log ratios over `rounds`, two or more. The test statistic of a true log
    ratio d follows the noncentral t with noncentrality d √rounds / scatter; d is where it exceeds the critical value
    with that power (Cohen, Statistical Power Analysis, 2nd ed., 2.2; the far tail, under 1e-3 here, is left out).
    """
    critical = stdtrit(rounds - 1, 1 - level / 2)
    return float(np.exp(nctdtrinc(rounds - 1, 1 - POWER, critical) * scatter / np.sqrt(rounds)))


def _paired(cells: list[_Rounds], baseline: str | None) -> Iterator[Pair]:
    ordered = sorted(cells, key=lambda rounds: (_any(rounds).label, _any(rounds).load["in_flight"]))
    against = _against([_any(rounds) for rounds in ordered], baseline)
    bases = {_lanes(rounds): rounds for rounds in ordered if _any(rounds).label == against}
    only = next(iter(bases.values())) if len(bases) == 1 else None
    for ours in ordered:
        theirs = bases.get(_lanes(ours), only)
        if theirs and _any(ours).label != against:
            yield Pair(theirs, ours)


def _against(there: Sequence[TrialSummary], baseline: str | None) -> str:
    """The label of the server that the others are held against."""
    wanted = (trial.label for name in (baseline, "local") for trial in there if name in _names(trial))
    return next(wanted, there[0].label)


def _names(trial: TrialSummary) -> tuple[str, str]:
    return trial.label, trial.server["kind"]


def _any(rounds: _Rounds) -> TrialSummary:
    return next(iter(rounds.values()))


def _lanes(rounds: _Rounds) -> tuple[int, int]:
    load = _any(rounds).load
    return load["workers"], load["concurrency"]


def _is_comparable(trial: TrialSummary) -> bool:
    """Only whole trials without a failed request, in closed loop: an open one offers every server the same."""
    is_whole = trial.status == "ok" and not trial.requests.failed and _images_per_s(trial) > 0
    return is_whole and trial.load["arrivals"] == "closed"


def _images_per_s(trial: TrialSummary) -> float:
    return trial.throughput.images_per_s if trial.throughput else 0.0


def _log_ratios(pair: Pair) -> np.ndarray:
    """Of each round that both finished."""
    both = sorted(pair.base.keys() & pair.server.keys())
    return np.log([_images_per_s(pair.server[n]) / _images_per_s(pair.base[n]) for n in both])


def _compared(pair: Pair, logs: np.ndarray, family: int) -> Comparison:
    """One of `family` comparisons, without its verdict."""
    base, server = _any(pair.base), _any(pair.server)
    found, level = interval(logs), (1 - CONFIDENCE) / max(1, family)
    low, high = (None if v is None else float(np.exp(v)) for v in ((found.low, found.high) if found else (None, None)))
    return Comparison(
        model=server.model["name"],
        base=base.label,
        server=server.label,
        batch_size=server.load["batch_size"],
        base_in_flight=base.load["in_flight"],
        in_flight=server.load["in_flight"],
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
    p-values is held against 5 % / m, the next against 5 % / (m − 1), until one is not below; any dependence is allowed.
    """
    judged = sorted((c.p_value, i) for i, c in enumerate(comparisons) if c.p_value is not None)
    verdicts, shown = dict[int, str](), True
    for rank, (p_value, i) in enumerate(judged):
        shown = shown and p_value < (1 - CONFIDENCE) / (len(judged) - rank)
        verdicts[i] = ("faster" if comparisons[i].ratio > 1 else "slower") if shown else "no difference shown"
    return tuple(replace(c, verdict=verdicts.get(i)) for i, c in enumerate(comparisons))
