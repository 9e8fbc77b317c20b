"""A configuration that a tuning left the files of -> the benchmark that measures it alone, as the tuning did; pure."""

from collections.abc import Mapping

from raybench.analysis.search.strategy import at
from raybench.analysis.tuning.halving import FIRST_CONFIRMATION, Configuration
from raybench.analysis.tuning.result import Measurement
from raybench.config import Benchmark
from raybench.config.search_goal import Goal

_ROUNDS = 5


def deployed_run(
    benchmark: Benchmark, best: Configuration, latency: Goal | None, measured: Mapping[int, Measurement]
) -> Benchmark:
    """Five rounds under the load of the tuning; `measured` is the configuration by round.

    With a latency goal an open loop at the rate that it held, as long as a step of a search, with the goal as
    the run's threshold.
    """
    cell = best.first.cell
    alone = benchmark.only(
        cell.server, cell.models, protocol=cell.load.protocol, client=cell.load.client, rounds=_ROUNDS
    )
    rate_rps = held_rps(measured)
    if latency is None or latency.threshold is None or rate_rps is None:
        return alone
    paced = at(alone, latency, rate_rps, models=cell.models)
    return paced.model_copy(update={"threshold": (latency.threshold,)})


def held_rps(measured: Mapping[int, Measurement]) -> float | None:
    """The highest requests/s that held in each of the fresh rounds, or where there are none in each round.

    None where no search of the configuration found one.
    """
    found = {number: each.trials[0].load.offered_rps for number, each in measured.items() if each.value is not None}
    known = {number: rps for number, rps in found.items() if rps is not None}
    fresh = [rps for number, rps in known.items() if number >= FIRST_CONFIRMATION]
    return min(fresh or known.values(), default=None)
