"""raybench search: the highest load that a server holds."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raybench import config
from raybench.cli.measure_and_report import judged, measure_and_report
from raybench.cli.options import Flags, benchmark_flags, parse
from raybench.cli.report_command import details_flag
from raybench.cli.run_command import show_plan
from raybench.cli.sections import SectionedCommand
from raybench.cli.usage_errors import WrongInput
from raybench.config import Benchmark, ConfigError, plan, validation, yaml_file

if TYPE_CHECKING:
    from raybench.config.search_goal import Goal
    from raybench.driver.run_observer import RunObserver

_LISTS = ("workers", "concurrency", "batch_size")
_RANGES = {"request_rate_range": "request_rate", "concurrency_range": "concurrency"}
_REFUSED = {
    "request_rate": "a search sets the load itself: leave it out, or give --request-rate-range",
    "threshold": "use --latency-threshold in a search",
    "rounds": "a search repeats deciding steps by itself: leave it out",
    "loads": "a search sets the load itself: leave them out",
}
_RUN_GATES = {  # of a YAML that `run` takes too they mean nothing here
    "strict": "a search judges each step by itself: leave it out",
    "max_error_rate": "a failed request misses a search's threshold: leave it out",
    "baseline": "a search compares no servers: leave it out",
}
_LEAST_REQUESTS = 100
_LENGTHS = ("request_count", "duration")


@click.command(cls=SectionedCommand)
@click.argument("benchmark", required=False, type=click.Path(dir_okay=False, path_type=Path))
@partial(benchmark_flags, listed=_LISTS, hidden=(*_REFUSED, *_RUN_GATES))
@click.option("--until-oom", is_flag=True, help="Climb a list of loads until memory runs out.")
@click.option("--latency-threshold", metavar="EXPR", help="Find the highest load within this limit, such as p99<100ms.")
@click.option("--request-rate-range", metavar="LO:HI", help="Search these requests/s (open loop), such as 5:200.")
@click.option("--concurrency-range", metavar="LO:HI", help="Search these lanes per worker (closed loop), such as 1:64.")
@details_flag
@click.option("--dry-run", is_flag=True, help="Print the first points and how long they may take, then stop.")
def search(
    benchmark: Path | None,
    until_oom: bool,
    latency_threshold: str | None,
    request_rate_range: str | None,
    concurrency_range: str | None,
    details: bool,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Find the highest load that each server sustains, model by model.

    Within a latency, over a range of request rates or lanes; or until memory runs out, over a list of --workers,
    --concurrency or --batch-size. BENCHMARK is an optional YAML file; flags override it.

    \b
    raybench search -s triton --until-oom --workers 1,2,4,8,16
    raybench search -s triton --instances 1,2 --latency-threshold 'p99<100ms' --request-rate-range 5:200
    """
    ranges = {"request_rate_range": request_rate_range, "concurrency_range": concurrency_range}
    try:
        asked = _goal(until_oom, latency_threshold, flags, {k: v for k, v in ranges.items() if v is not None})
        goal, loaded = _configured(benchmark, asked, flags)
        plan.trials(loaded)
        if dry_run:
            from raybench.driver.resolved_loads import as_on_disk  # threads come along: before a search they must not

            _show_steps(goal, as_on_disk(loaded))
            return
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    sys.exit(_search_and_report(loaded, goal, details=details))


def _goal(until_oom: bool, threshold: str | None, flags: Flags, ranges: dict[str, str]) -> "Goal":
    """What is searched for, by the flags; lists are taken out of `flags`, whose other counts become numbers."""
    lists = {name: _numbers(name, flags.pop(name)) for name in _LISTS if "," in (flags[name] or "")}
    for name in _LISTS:
        flags[name] = _numbers(name, flags[name])[0] if flags.get(name) else None
    if until_oom == (threshold is not None):
        raise ConfigError("a search is for one thing: give either --until-oom or --latency-threshold")
    return _oom_goal(lists, ranges) if threshold is None else _latency_goal(threshold, lists, ranges)


def _oom_goal(lists: dict[str, tuple[int, ...]], ranges: dict[str, str]) -> "Goal":
    from raybench.config.search_goal import OOM, Goal

    if ranges or len(lists) != 1:
        raise ConfigError(
            "--until-oom climbs a list: give exactly one of --workers, --concurrency and --batch-size "
            "as one, such as 1,2,4"
        )
    ((variable, steps),) = lists.items()
    if list(steps) != sorted(set(steps)):
        raise ConfigError(f"{_word(variable)} is {', '.join(map(str, steps))}; give each number once, in rising order")
    return Goal(kind=OOM, variable=variable, steps=steps)


def _latency_goal(text: str, lists: dict[str, tuple[int, ...]], ranges: dict[str, str]) -> "Goal":
    from raybench.analysis.search.strategy import doublings, threshold
    from raybench.config.search_goal import LATENCY, Goal

    if lists or len(ranges) != 1:
        raise ConfigError(
            "--latency-threshold searches a range: give one of --request-rate-range and --concurrency-range, "
            "and no list"
        )
    ((name, bounds),) = ranges.items()
    percentile, limit_ms = threshold(text)
    steps = doublings(*read_range(name, bounds))
    return Goal(kind=LATENCY, variable=_RANGES[name], steps=steps, percentile=percentile, limit_ms=limit_ms)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{_word(name)} is {text}; give a whole number, or a list such as 1,2,4") from error


def read_range(name: str, text: str) -> tuple[float, float]:
    """The ends of such as 5:200; raises ConfigError, which names the flag."""
    kind = float if _RANGES[name] == "request_rate" else int
    try:
        low, high = (kind(number) for number in text.split(":"))
    except ValueError:
        low, high = 0, 0
    if not 0 < low < high < float("inf"):
        raise ConfigError(f"{_word(name)} is {text}; write one like 5:200, the lower number above 0")
    return low, high


def _configured(path: Path | None, goal: "Goal", flags: Flags) -> "tuple[Goal, Benchmark]":
    """The goal, and the benchmark whose loads are the steps of the search."""
    from raybench.analysis.search.strategy import RATE, load

    given = {name: value for name, value in parse(flags).items() if value not in (None, (), {})}
    asked = {**(yaml_file.read(path) if path else {}), **given}
    for name, remedy in (*_REFUSED.items(), *_RUN_GATES.items()):
        if name in (given if name in _RUN_GATES else asked):
            raise ConfigError(f"{_word(name)} is given; {remedy}")
    plain = validation.validated(asked)
    if "local" in plain.server and goal.variable in ("workers", "concurrency"):
        raise ConfigError(
            f"server is local; it has one worker and one lane, so there is no {goal.variable} to search: use -s triton"
        )
    if goal.variable == RATE and "concurrency" in asked:
        raise ConfigError(f"concurrency is {asked['concurrency']}; it only works in a closed loop: leave it out")
    if not any(name in asked for name in _LENGTHS):
        goal = replace(goal, is_adaptive=goal.limit_ms is not None)
        if not goal.is_adaptive:
            given["request_count"] = _request_count(goal, plain)
    loads = tuple(load(goal, step, workers=plain.loads[0].workers) for step in goal.steps)
    loaded = config.load(path, {**given, "loads": loads})
    if goal.limit_ms and not goal.is_adaptive:
        _check_length(goal, loaded)
    return goal, loaded


def _request_count(goal: "Goal", plain: Benchmark) -> int:
    """Enough for every lane of the highest step."""
    from raybench.analysis.search.strategy import at

    (widest,) = at(plain, goal, goal.steps[-1]).loads
    return max(_LEAST_REQUESTS, 2 * widest.in_flight)


def _check_length(goal: "Goal", benchmark: Benchmark) -> None:
    """Raise ConfigError where steps as long as the user asked cannot show what the goal asks."""
    from raybench.analysis.latency import PERCENTILES, samples_needed, seconds_needed
    from raybench.analysis.search.strategy import RATE, least_s

    count, duration_s = benchmark.loads[0].request_count, benchmark.loads[0].duration
    needed, least = samples_needed(PERCENTILES[goal.percentile or ""]), least_s(goal)
    if count is not None and count < needed:
        raise ConfigError(f"request-count is {count}; {goal.threshold} needs {needed} requests: send at least as many")
    if goal.variable != RATE:
        return
    low, high = goal.steps[0], goal.steps[-1]
    if duration_s is not None and duration_s * low < needed:
        raise ConfigError(
            f"duration is {duration_s:g}; at {low:g} requests/s that is {duration_s * low:.0f} requests, and "
            f"{goal.threshold} needs {needed}: use --duration {seconds_needed(needed, low)} or more, or leave it out"
        )
    if duration_s is not None and duration_s < least:
        raise ConfigError(
            f"duration is {duration_s:g}; a backlog must have time to show: use --duration {least:.0f} or more, "
            "or leave it out"
        )
    if count is not None and count / high < least:
        raise ConfigError(
            f"request-count is {count}; at {high:g} requests/s that is {count / high:.2g} s, and a backlog must have "
            f"{least:.0f} s to show: leave it out, and each step is as long as its rate needs"
        )


def _show_steps(goal: "Goal", benchmark: Benchmark) -> None:
    """The steps in the order in which they are tried, server by server, as long as each holds."""
    from raybench.analysis.search.strategy import trial_at

    firsts = plan.first_trials(benchmark)
    trials = [trial_at(benchmark, goal, first, step) for first in firsts for step in goal.steps]
    show_plan(trials, benchmark)
    click.echo("each server climbs until a step does not hold; then the gap below it is halved, and both ends repeated")


def _search_and_report(benchmark: Benchmark, goal: "Goal", *, details: bool) -> int:
    def drive(observer: "RunObserver") -> None:
        from raybench.driver.search_loop import search as drive_search  # Ray comes along

        drive_search(benchmark, goal, observer, sys.argv)

    return judged(*measure_and_report(benchmark, drive, goes_on=None, is_detailed=details))


def _word(name: str) -> str:
    return name.replace("_", "-")
