"""Searches of simulated servers, in virtual time, and the rates that queueing theory gives them."""

from dataclasses import dataclass
from decimal import Decimal, getcontext
from math import exp, factorial, floor

import numpy as np
from helpers import OPEN, observed
from queue_simulation import due_times_s, served, service_times_s
from record_builders import load

from raybench.analysis.latency import PERCENTILES
from raybench.analysis.search import evaluation, strategy
from raybench.analysis.search.strategy import SearchPoint, SearchResult
from raybench.analysis.trial_summary import summarize_trial
from raybench.config.search_goal import LATENCY, Goal

getcontext().prec = 80  # M/D/1 has terms of both signs


@dataclass(frozen=True)
class Server:
    """Takes `mean_s` a request on average and computes `at_once` of them at a time."""

    times: str
    mean_s: float
    at_once: int

    @property
    def capacity_rps(self) -> float:
        return self.at_once / self.mean_s


def goal_of(percentile: str, limit_ms: float, low: float, high: float) -> Goal:
    steps = strategy.doublings(low, high)
    return Goal(
        kind=LATENCY, variable="request_rate", steps=steps, percentile=percentile, limit_ms=limit_ms, is_adaptive=True
    )


def searched(goal: Goal, server: Server, *, seed: int, lanes: int = 256) -> SearchResult:
    """A whole search; nothing ends early."""
    rng, points = np.random.default_rng(seed), list[SearchPoint]()
    while (value := strategy.next_value(goal, points)) is not None and len(points) < 100:
        points.append(_measured(goal, server, value, 1 + sum(p.value == value for p in points), rng, lanes))
    return strategy.search_result(goal, "fake", "m", points, unit="images")


def _measured(
    goal: Goal, server: Server, value: float, round: int, rng: np.random.Generator, lanes: int
) -> SearchPoint:
    seconds = strategy.step_s(goal, value, workers=1, round=round)
    due_s = due_times_s("poisson", value, int(value * seconds), rng)
    times_s = service_times_s(server.times, server.mean_s, len(due_s), rng)
    rows = served(times_s, at_once=server.at_once, lanes=lanes, due_s=due_s, until_s=seconds)
    asked = load(**{**OPEN, "offered_rps": value, "in_flight": lanes, "duration_s": seconds, "request_count": None})
    seen = observed(rows, label="fake", round=round, load=asked)
    trial = summarize_trial(seen.record, seen.samples, seen.telemetry)
    return evaluation.point(goal, trial, seen.record, seen.samples)


def rate_in_theory(server: Server, percentile: str, limit_s: float) -> float:
    """The rate at which so many of the responses are within the limit: M/D/1 or M/M/c (Kleinrock, Queueing Systems)."""
    low, high = 0.0, server.capacity_rps
    for _ in range(40):
        middle = (low + high) / 2
        within = _within_md1 if server.times == "constant" else _within_mmc
        low, high = (middle, high) if within(server, middle, limit_s) > PERCENTILES[percentile] else (low, middle)
    return low


def _within_md1(server: Server, rps: float, limit_s: float) -> float:
    """P(wait + service <= limit), with the distribution of the wait by Erlang (1909)."""
    wait, each, rate = Decimal(limit_s - server.mean_s), Decimal(server.mean_s), Decimal(rps)
    if wait < 0:
        return 0.0
    behind = [j * each - wait for j in range(floor(wait / each) + 1)]
    terms = (
        (rate * x) ** j / factorial(j) * (-rate * x).exp() if j else (-rate * x).exp() for j, x in enumerate(behind)
    )
    return float((1 - rate * each) * sum(terms, Decimal(0)))


def _within_mmc(server: Server, rps: float, limit_s: float) -> float:
    """P(wait + service <= limit), with Erlang's C for the probability of a wait."""
    mu, c = 1 / server.mean_s, server.at_once
    load = rps / mu
    full = load**c / factorial(c) * c / (c - load)
    waits = full / (sum(load**n / factorial(n) for n in range(c)) + full)
    rest = c - 1 - load
    if abs(rest) < 1e-9:
        return 1 - exp(-mu * limit_s) * (1 + waits * mu * limit_s)
    return 1 - exp(-mu * limit_s) * (1 + waits * (1 - exp(-mu * limit_s * rest)) / rest)
