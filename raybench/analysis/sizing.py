"""How many replicas of each measured server hold an asked rate, and what they cost; pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from raybench.analysis import units
from raybench.analysis.cells import Interval, interval
from raybench.analysis.replica_rate import ReplicaRate, not_known, rate_of_run, rate_of_search
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary
from raybench.analysis.tuning.halving import FIRST_CONFIRMATION
from raybench.analysis.tuning.result import TuningResult
from raybench.config import threshold
from raybench.config.demand import HOURS_PER_MONTH, Demand

_NOT_FRESH = "the tuning did not measure it in fresh rounds: finish it with raybench tune --resume"
_NEVER_FRESH = "the default won without fresh rounds: measure DIR/deploy/run.yaml with raybench run, and size that"
_ROUNDING = 1e-9  # a share of the replicas: floating point makes 50 x 1.1 / 5.5 a little more than 10


@dataclass(frozen=True, kw_only=True)
class CostRange:
    """A cost, sized from the rate that a replica is shown to hold; `low` is from that rate's upper end, or None."""

    cost: float
    low: float | None


@dataclass(frozen=True, kw_only=True)
class DeploymentCost:
    """What the replicas cost in `currency`: a million inferences at the asked rate, and a month of it."""

    currency: str
    per_million_inferences: CostRange
    per_month: CostRange


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """The replicas of one server and model, with requests of `batch_size` items, for a demand.

    `replicas` = ceil(`request_rate` x (1 + headroom) / `rate.low_rps`) + spare, and `replicas_low` the same from
    `rate.high_rps`; None is not known, and `rate.reason` says why. `joules_per_inference` is of all GPUs of the
    server's host while `rate.trials` were measured; None where their power is not known.
    """

    server: str
    model: str
    signature: str
    unit: str
    batch_size: int
    demand: Demand
    rate: ReplicaRate
    request_rate: float
    replicas: int | None
    replicas_low: int | None
    cost: DeploymentCost | None
    joules_per_inference: Interval | None


def sizings(summary: Summary, wanted: Demand) -> tuple[Sizing, ...]:
    """The sizing of each server, model and batch size of a run, of each result of a search, or of a tuning's best and
    default."""
    if summary.search is not None:
        return tuple(_of_searches(summary, wanted))
    if summary.tuning is not None:
        return tuple(_of_tuning(summary, summary.tuning, wanted))
    groups: dict[object, list[TrialSummary]] = {}
    for trial in summary.trials:
        groups.setdefault((trial.label, trial.model.name, trial.signature, trial.load.batch_size), []).append(trial)
    return tuple(_sizing(trials, rate_of_run(trials, wanted.limit), wanted) for trials in groups.values())


def replicas_for(rate_rps: float, low_rps: float, wanted: Demand) -> int:
    """ceil(rate x (1 + headroom) / low) + spare."""
    needed = rate_rps * (1 + wanted.headroom) / low_rps
    return max(1, ceil(needed * (1 - _ROUNDING))) + wanted.spare


def _of_searches(summary: Summary, wanted: Demand) -> Iterator[Sizing]:
    for found in summary.search or ():
        ids = {point.trial for point in found.points}
        trials = [trial for trial in summary.trials if trial.id in ids]
        yield _sizing(trials, rate_of_search(found, trials, wanted.limit), wanted)


def _of_tuning(summary: Summary, tuning: TuningResult, wanted: Demand) -> Iterator[Sizing]:
    """From fresh rounds alone: the best of many was lucky in the rounds that made it the best."""
    limit = wanted.limit or (threshold(tuning.threshold) if tuning.threshold else None)
    tried = {each.name: (each.server, each.model) for each in tuning.tried}
    for name in dict.fromkeys((tuning.winner or tuning.default, tuning.default)):
        trials = [trial for trial in summary.trials if (trial.label, trial.model.name) == tried.get(name)]
        fresh = [trial for trial in trials if trial.round >= FIRST_CONFIRMATION]
        if trials:
            why = _NEVER_FRESH if tuning.is_over else _NOT_FRESH
            yield _sizing(trials, rate_of_run(fresh, limit) if fresh else not_known("tuning", why), wanted)


def _sizing(trials: Sequence[TrialSummary], rate: ReplicaRate, wanted: Demand) -> Sizing:
    first, items = trials[0], trials[0].load.batch_size
    asked_rps = wanted.rps(items)
    replicas, fewest = (replicas_for(asked_rps, rps, wanted) if rps else None for rps in (rate.low_rps, rate.high_rps))
    return Sizing(
        server=first.label,
        model=first.model.name,
        signature=first.signature,
        unit=units.common(trial.unit for trial in trials),
        batch_size=items,
        demand=wanted,
        rate=rate,
        request_rate=asked_rps,
        replicas=replicas,
        replicas_low=fewest if replicas else None,
        cost=_cost(replicas, fewest, wanted, items) if replicas else None,
        joules_per_inference=interval(_joules([trial for trial in trials if trial.id in rate.trials])),
    )


def _cost(replicas: int, fewest: int | None, wanted: Demand, items: int) -> DeploymentCost | None:
    price, million_h = wanted.price, 1e6 / wanted.inferences_per_s(items) / 3600
    if price is None:
        return None

    def over(hours: float) -> CostRange:
        each = price.per_hour * hours
        return CostRange(cost=replicas * each, low=fewest * each if fewest else None)

    return DeploymentCost(
        currency=price.currency, per_million_inferences=over(million_h), per_month=over(HOURS_PER_MONTH)
    )


def _joules(trials: Iterable[TrialSummary]) -> Iterable[float]:
    """Power over throughput, of the trials of which both are known."""
    for trial in trials:
        power_w = trial.telemetry.gpu_power_w if trial.telemetry else None
        if power_w is not None and trial.throughput and trial.throughput.inferences_per_s:
            yield power_w / trial.throughput.inferences_per_s
