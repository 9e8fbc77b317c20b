"""raybench tune: the configuration of a server that serves a model best."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from raybench import config
from raybench.cli.measure_and_report import judged, measure_and_report
from raybench.cli.options import Flags, benchmark_flags, parse
from raybench.cli.report_command import details_flag
from raybench.cli.sections import SectionedCommand
from raybench.cli.size_command import demand_flags
from raybench.cli.usage_errors import WrongInput
from raybench.config import Benchmark, ConfigError, yaml_file
from raybench.config.knob_values import Host, knob_values
from raybench.config.refusal import require
from raybench.config.server_settings import KNOBS, without_effect

if TYPE_CHECKING:
    from raybench.analysis.summary import Summary
    from raybench.config.demand import Demand
    from raybench.config.search_goal import Goal
    from raybench.config.tuning_goal import TuningGoal
    from raybench.driver.run_observer import RunObserver
    from raybench.driver.tune_loop import TuneResume

_OF_YAML = {"request_rate": "a tuning finds rates by itself, and the rate to size for is the flag --request-rate"}
_REFUSED = {
    "threshold": "use --latency-threshold in a tuning",
    "rounds": "a tuning chooses its rounds by itself: leave it out",
    "loads": "a tuning measures under one load: leave them out",
    "mix": "a tuning compares models as configurations: leave it out",
    "baseline": "a tuning compares with the first server's default: leave it out",
    "strict": "a configuration that fails is an answer here: leave it out",
    "max_error_rate": "a configuration that fails requests gets no number: leave it out",
}
_SHOWN = {
    "server": "triton",
    **dict.fromkeys(("instances", "layout", *(knob.name for knob in KNOBS)), "all values that this host allows"),
}
_KNOWN_GPU = Path("/proc/driver/nvidia/gpus")
_LEAST_TRIALS = 24


@click.command(cls=SectionedCommand)
@click.argument("benchmark", required=False, type=click.Path(dir_okay=False, path_type=Path))
@partial(benchmark_flags, hidden=tuple(_REFUSED), without=("request_rate",), shown=_SHOWN)
@demand_flags
@click.option("--price", metavar="PRICE", help="Price of a replica, such as 2.50/h or $1800/month.")
@click.option(
    "--latency-threshold", metavar="EXPR", help="Compare the highest rates within this limit, such as p99<200ms."
)
@click.option(
    "--request-rate-range",
    metavar="LO:HI",
    help="With --latency-threshold: rates to search first.  [around the default's throughput]",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=1),
    default=20,
    show_default=True,
    metavar="MINUTES",
    help="Stop halving so that the tuning ends by then; round 1 and three fresh rounds are always measured.",
)
@click.option(
    "--resume",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Finish an interrupted tuning as it was configured; of the other flags it takes --budget, --details and --ui.",
)
@details_flag
@click.option(
    "--dry-run", is_flag=True, help="Print the configurations, those that are measured first marked, then stop."
)
def tune(
    benchmark: Path | None,
    latency_threshold: str | None,
    request_rate_range: str | None,
    request_rate: float | None,
    inference_rate: float | None,
    headroom: str,
    spare: int,
    price: str | None,
    budget: float,
    resume: Path | None,
    details: bool,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Find the settings with which a server serves a model best.

    Tries instances, layout, merging and threads: first one at a time, then the promising combinations side by side.
    The best is measured again beside the default in fresh rounds, and only then called better. Name the values to try
    with --instances 1,2,4 and the like; several models are configurations too. BENCHMARK is an optional YAML file.

    \b
    raybench tune -s triton -m ./my_model
    raybench tune -s triton --latency-threshold 'p99<200ms' --budget 60
    raybench tune -s triton --request-rate 500 --price '2.50/h'   and how many replicas serve that rate
    """
    try:
        wanted = _wanted(request_rate, inference_rate, headroom, spare, latency_threshold, price)
        if resume and (latency_threshold or request_rate_range):
            raise ConfigError(
                f"resume is {resume}, which has its own goal; leave out --latency-threshold and its range"
            )
        if resume:
            loaded, goal, resumed = _resumed(resume, benchmark, flags, budget)
        else:
            loaded = _configured(benchmark, parse(flags))
            latency = _latency(latency_threshold, request_rate_range, loaded)
            goal, resumed = _goal(loaded, latency, budget), None
        if dry_run:
            _show(loaded, goal)
            return
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    sys.exit(_tune_and_report(loaded, goal, resumed, wanted, details=details))


def _configured(path: Path | None, flags: Flags) -> Benchmark:
    """The benchmark that spans all configurations: knobs that the user does not name have every value of this host."""
    given = {name: value for name, value in flags.items() if value not in (None, (), {})}
    asked = {**(yaml_file.read(path) if path else {}), **given}
    for name, remedy in {**_OF_YAML, **_REFUSED}.items():
        if name in asked:
            raise ConfigError(f"{_word(name)} is given; {remedy}")
    if "server" not in asked and "url" not in asked:
        given["server"] = asked["server"] = ("triton",)
    plain = config.load(path, given)
    if by_url := [kind for kind in plain.url if kind != "fake"]:
        raise ConfigError(f"url is {by_url[0]}={plain.url[by_url[0]]}; tune starts its servers itself: leave it out")
    found = _values(plain, asked)
    unnamed = [name for name in found if name not in asked]
    if unnamed and (plain.server_node or plain.address):
        where = plain.server_node or plain.address
        raise ConfigError(
            f"server is on {where}, whose cores are not known here: name the values of {', '.join(map(_word, unnamed))}"
        )
    chosen = {"calibrate": False, **found}  # the client's ceiling is the same beside every configuration
    loaded = config.load(path, {**given, **{name: values for name, values in chosen.items() if name not in asked}})
    if len(loaded.servers) * len(loaded.all_models) < 2:
        raise ConfigError(f"server is {', '.join(plain.server)}; there is one configuration, and nothing to compare")
    return loaded


def _values(plain: Benchmark, asked: Flags) -> dict[str, tuple[int | str, ...]]:
    """The values of this host by knob, without those that have no effect where the user has nothing merged."""
    load = plain.loads[0]
    found = knob_values(plain.server, _host(), batch_size=load.items, in_flight=load.in_flight)
    spanned: dict[str, Any] = {
        **found,
        **{knob.name: getattr(plain, knob.name) for knob in KNOBS if knob.name in asked},
    }
    idle = without_effect(plain.server, spanned)
    return {name: values for name, values in found.items() if name not in idle}


def _host() -> Host:
    return Host(cores=len(os.sched_getaffinity(0)), has_gpu=_KNOWN_GPU.exists())


def _latency(threshold: str | None, rates: str | None, benchmark: Benchmark) -> "Goal | None":
    """What the search of each configuration is for; None where throughput is compared."""
    from raybench.analysis.search.strategy import RATE, doublings
    from raybench.analysis.search.strategy import threshold as parsed
    from raybench.cli.search_command import read_range
    from raybench.config.search_goal import LATENCY, Goal

    if threshold is None:
        if rates is not None:
            raise ConfigError(f"request-rate-range is {rates}; it goes with --latency-threshold: give that too")
        return None
    if "local" in benchmark.server:
        raise ConfigError("server is local; it has one lane, so there is no rate to search: use -s triton")
    percentile, limit_ms = parsed(threshold)
    steps = doublings(*read_range("request_rate_range", rates)) if rates else ()
    return Goal(kind=LATENCY, variable=RATE, steps=steps, percentile=percentile, limit_ms=limit_ms, is_adaptive=True)


def _goal(benchmark: Benchmark, latency: "Goal | None", budget_min: float) -> "TuningGoal":
    """A fifth of what five rounds of every configuration would take, or what the smallest tuning needs."""
    from raybench.analysis.tuning.halving import configurations
    from raybench.config.tuning_goal import TuningGoal

    most = max(_LEAST_TRIALS, len(configurations(benchmark)))
    return TuningGoal(latency=latency, most_trials=most, budget_s=60 * budget_min)


def _resumed(
    folder: Path, benchmark: Path | None, flags: Flags, budget_min: float
) -> "tuple[Benchmark, TuningGoal, TuneResume]":
    """What an interrupted tuning was configured as, and what it measured so far."""
    from dataclasses import replace

    from raybench.analysis.summary import seen_trials
    from raybench.analysis.tuning.halving import configurations
    from raybench.analysis.tuning.measurements import measurements_of, unfinished
    from raybench.driver.tune_loop import TuneResume
    from raybench.results.resuming import tuning_to_resume

    given = [name for name, value in flags.items() if value not in (None, (), {}) and name != "ui"]
    if benchmark or given:
        what = str(benchmark) if benchmark else f"--{_word(given[0])}"
        raise ConfigError(f"resume is {folder}, which has its own benchmark.yaml; leave out {what}")
    results, (goal, loaded) = tuning_to_resume(folder)
    shown = loaded.model_copy(update={"ui": flags["ui"]} if flags["ui"] else {})
    space, trials = configurations(loaded), seen_trials(results)
    measured = measurements_of(space, goal, trials)
    resumed = TuneResume(folder, measured, unfinished(measured, space, trials))
    return shown, replace(goal, budget_s=60 * budget_min), resumed


def _show(benchmark: Benchmark, goal: "TuningGoal") -> None:
    """Every configuration, with a mark before those that are measured first."""
    from raybench.analysis.tuning.halving import configurations, next_round

    space = configurations(benchmark)
    first = next_round(space, {}, goal)
    for each in space:
        click.echo(f"{'*' if first and each.name in first.names else ' '} {each.name}")
    screened = len(first.names) if first else 0
    click.echo(f"{len(space)} configurations; {screened} come first (*); at most {goal.most_trials} measurements")


def _tune_and_report(
    benchmark: Benchmark,
    goal: "TuningGoal",
    resumed: "TuneResume | None",
    wanted: "Demand | None",
    *,
    details: bool,
) -> int:
    def drive(observer: "RunObserver") -> None:
        from raybench.driver.tune_loop import tune as drive_tune  # Ray comes along

        drive_tune(benchmark, goal, observer, sys.argv, resumed)

    status, summary = measure_and_report(benchmark, drive, goes_on="tune", is_detailed=details)
    if summary and wanted:
        _print_sizes(summary, wanted)
    return judged(status, summary)


def _print_sizes(summary: "Summary", wanted: "Demand") -> None:
    from raybench.analysis.sizing import sizings
    from raybench.report.sizing_tables import sizing_lines

    for line in sizing_lines(sizings(summary, wanted)):
        click.echo(line)


def _wanted(
    request_rate: float | None,
    inference_rate: float | None,
    headroom: str,
    spare: int,
    latency_threshold: str | None,
    price: str | None,
) -> "Demand | None":
    """What is to be served; None where no rate is given."""
    from dataclasses import replace

    from raybench.config import demand

    if request_rate is None and inference_rate is None:
        _check_without_rate()
        return None
    found = demand.demand(
        request_rate=request_rate,
        inference_rate=inference_rate,
        headroom=headroom,
        spare=spare,
        latency_threshold=latency_threshold,
    )
    return replace(found, price=demand.price(price)) if price else found


def _check_without_rate() -> None:
    """Raise ConfigError for a flag of the sizing, which needs a rate."""
    context = click.get_current_context()
    for name in ("headroom", "spare", "price"):
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        require(not given, name, context.params[name], "it goes with a rate to serve: add --request-rate")


def _word(name: str) -> str:
    return name.replace("_", "-")
