"""The commands: parse, call one function, echo."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from raybench import config, plan
from raybench.config import Benchmark, ConfigError

_PIPE_WIDTH = 110
_INTERRUPTED = 130
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


class WrongInput(click.ClickException):
    """What the user gave cannot be: one sentence, exit 2."""

    exit_code = 2

    def format_message(self) -> str:
        """One line whatever was given, without the control characters in it."""
        line = " ".join(self.message.split())
        return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


class _Commands(click.Group):
    """Commands whose wrong usage is one sentence too, without click's lines on usage.

    An interrupt ends each with 130, wherever it comes; click's own 1 would be a failed trial.
    """

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _usage_in_a_sentence():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _usage_in_a_sentence():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)


@contextmanager
def _usage_in_a_sentence() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        raise WrongInput(error.format_message()) from error


class _Text(click.ParamType):
    """Text that can stand in a line and in a path."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not config.is_text(value):
            self.fail(f"{value!r} holds nothing, or what cannot be printed.", param, ctx)
        return str(value)


_SEED = click.IntRange(0, config.LARGEST_SEED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="raybench")
def main() -> None:
    """Choose and size an inference server, with numbers that can be defended.

    \b
    raybench run --workers 4          Triton beside TensorFlow in process
    raybench report results/run-...   the table again
    """
    _heed_interrupts()


@main.command()
@click.argument("architectures", nargs=-1)
@click.option(
    "--out", type=_Text(), default="models", show_default=True, help="Folder for the SavedModels and models.conf."
)
@click.option(
    "--weights",
    type=click.Choice(["random", "imagenet"]),
    default="random",
    show_default=True,
    help="Random ones that tell pictures apart, or Keras's own, which are fetched.",
)
@click.option("--variants", default="no-opt,xla-amp", show_default=True, help="Comma list of no-opt and xla-amp.")
@click.option(
    "--amp",
    type=click.Choice(["float16", "bfloat16"]),
    default="float16",
    show_default=True,
    help="Type that xla-amp computes in.",
)
@click.option("--seed", type=_SEED, default=0, show_default=True, help="Seed of random weights.")
def export(architectures: tuple[str, ...], out: str, weights: str, variants: str, amp: str, seed: int) -> None:
    """Export keras.applications as SavedModels named ARCHITECTURE-VARIANT; resnet50 and efficientnetb0 by default.

    \b
    raybench export resnet50 --variants no-opt --out models
    """
    wanted = tuple(variants.split(","))
    if unknown := [variant for variant in wanted if variant not in config.VARIANTS]:
        raise WrongInput(f"variants has {unknown[0]!r}; there are {', '.join(config.VARIANTS)}")
    from raybench.export import export as write  # TensorFlow: only here

    names = architectures or ("resnet50", "efficientnetb0")
    try:
        for folder in write(names, Path(out), weights=weights, variants=wanted, seed=seed, amp=amp):
            click.echo(f"exported {folder}")
    except ValueError as error:
        raise WrongInput(str(error)) from error
    except OSError as error:
        raise WrongInput(f"out is {out}; it cannot be written ({error}): name another folder, or make room") from error


@main.group()
def serve() -> None:
    """Start a real server in the foreground.

    \b
    raybench serve triton --models models
    """


@serve.command("triton")
@click.option("--models", type=_Text(), default="models", show_default=True, help="Folder with models.conf.")
@click.option("-m", "--model", multiple=True, help="Model to load; all of models.conf by default.")
@click.option(
    "--instances", default=1, show_default=True, type=click.IntRange(1, 1000), help="Instances of the backend."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8001, show_default=True, help="gRPC port; 0: a free one."
)
@click.option("--server-bind", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--merge-max-images", type=click.IntRange(min=1), help="Most images in one merged TensorFlow call.  [64]")
def serve_triton(
    models: str, model: tuple[str, ...], instances: int, port: int, server_bind: str, merge_max_images: int | None
) -> None:
    """Serve every SavedModel of models.conf from a real Triton until Ctrl-C; SIGHUP loads what has changed.

    \b
    raybench serve triton --models models -m efficientnetb0-no-opt --instances 2
    kill -HUP PID     read models.conf and its SavedModels again; the old ones answer until the new are ready
    """
    from raybench.serve import serve
    from raybench.servers import ServerError
    from raybench.servers.triton import TritonOptions, check

    options = TritonOptions(
        models_conf=Path(models) / "models.conf",
        models=model or None,
        instances=instances,
        bind=server_bind,
        grpc_port=port,
        merge_max_images=merge_max_images,
    )
    try:
        check(options)
        _warn_of_bind(server_bind)
        serve(options, say=click.echo, complain=lambda sentence: click.echo(sentence, err=True))
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    except ServerError as error:
        raise click.ClickException(str(error)) from error


def _load_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of a benchmark; None where one is not given, so that the YAML's value stands."""
    options = [
        click.option("--workers", type=int, help="Ray actors that send.  [4]"),
        click.option("--concurrency", type=int, help="Lanes per worker: requests in flight in each.  [1]"),
        click.option("-s", "--server", multiple=True, help="triton, local or fake; repeatable.  [local, triton]"),
        click.option("--url", multiple=True, help="KIND=HOST:PORT of a server that runs already; repeatable."),
        click.option("--instances", help="Triton instances, such as 1,2: each a server of its own.  [1]"),
        click.option("-m", "--model", multiple=True, help="ARCHITECTURE-VARIANT; repeatable.  [efficientnetb0-no-opt]"),
        click.option("--mix", is_flag=True, default=None, help="Send round robin over the models in one trial."),
        click.option("--models", help="Folder with models.conf.  [models]"),
        click.option("--signature", help="Signature to call.  [predict_images]"),
        click.option("-b", "--batch-size", type=int, help="Images a request.  [8]"),
        click.option("--request-count", type=int, help="Requests of a trial, over all workers.  [100]"),
        click.option("--duration", type=float, help="Seconds of a trial, instead of a count."),
        click.option("--warmup-request-count", type=int, help="Requests before the window.  [2 per lane]"),
        click.option("--rounds", type=int, help="How often every cell is measured.  [1]"),
        click.option("--seed", type=int, help="Seed of images and order.  [0]"),
        click.option("--images", help="photos, noise, or a folder.  [photos]"),
        click.option("--timeout", type=float, help="Deadline of one request, seconds.  [60]"),
        click.option("--address", help="Ray cluster to join.  [one of our own]"),
        click.option("--server-bind", help="Address that servers we start listen on.  [127.0.0.1]"),
        click.option("--out", help="Where results folders go.  [results]"),
        click.option("--name", help="Name of the run.  [run]"),
        click.option("--ui", type=click.Choice(config.UI_KINDS), help="Live bars, plain lines or none.  [live]"),
        click.option("--max-error-rate", type=float, help="Exit 5 above this share of failed requests.  [0]"),
        click.option("--verify/--no-verify", default=None, help="Compare sampled answers with TensorFlow's.  [on]"),
        click.option("--tolerance", type=float, help="Largest difference of an answer.  [by precision: 1e-4 or 2e-2]"),
        click.option("--strict", is_flag=True, default=None, help="Exit 3 where a trial is degraded or unstable."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.argument("benchmark", required=False, type=click.Path(dir_okay=False, path_type=Path))
@_load_options
@click.option("--dry-run", is_flag=True, help="Print the trials in order and how long they may take, and stop.")
@click.option(
    "--resume",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Go on with a run that was cut off, as it was configured; takes no other flags.",
)
def run(benchmark: Path | None, dry_run: bool, resume: Path | None, **flags: Any) -> None:
    """Measure every server under the same load, and report; BENCHMARK.yaml is optional, flags override it.

    \b
    raybench run --workers 4
    raybench run --workers 2 --concurrency 4 -m resnet50-no-opt -b 16 --instances 1,2 --rounds 5
    raybench run -s triton --url triton=127.0.0.1:8001 --request-count 200
    raybench run --resume results/run-20260101T120000Z
    """
    try:
        loaded = _resumed(resume, benchmark, flags) if resume else config.load(benchmark, _parsed(flags))
        trials = plan.trials(loaded)
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    if dry_run:
        _show_plan(trials, loaded)
        return
    sys.exit(_run_and_report(loaded, resume))


def _resumed(folder: Path, benchmark: Path | None, flags: dict[str, Any]) -> Benchmark:
    given = [name for name, value in flags.items() if value not in (None, ())]
    if benchmark or given:
        what = str(benchmark) if benchmark else f"--{given[0].replace('_', '-')}"
        raise ConfigError(f"resume is {folder}, which has its own benchmark.yaml; leave out {what}")
    return config.load(folder / "benchmark.yaml", {})


def _show_plan(trials: Sequence[plan.Trial], benchmark: Benchmark) -> None:
    from raybench.store import seconds_per_request

    for trial in trials:
        click.echo(trial.id)
    known_s, unknown = plan.estimate(trials, seconds_per_request(Path(benchmark.out)))
    told = f"{len(unknown)} cells of them have no earlier results in {benchmark.out}" if unknown else "all told"
    click.echo(f"{len(trials)} trials; about {known_s / 60:.0f} min by earlier results and starting times; {told}")


def _run_and_report(benchmark: Benchmark, resume: Path | None) -> int:
    from raybench import driver
    from raybench.report.live import progress
    from raybench.store import StoreError

    console = _console()
    status = 0
    folders: list[Path] = []

    def begun(folder: Path) -> None:
        folders.append(folder)
        _warn_of_bind(benchmark.server_bind)

    try:
        with progress(benchmark.ui, console) as shown:
            driver.run(benchmark, shown, sys.argv, on_folder=begun, resume=resume)
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except (driver.RunError, StoreError) as error:
        click.echo(f"Error: {error}", err=True)
        status = 1
    if not folders:
        return status
    summary = _report(console, folders[0])
    return status or exit_code(summary, benchmark)


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="How the table is written.",
)
def report(folder: Path, kind: str) -> None:
    """Derive summary.json and the table of a results folder again, finished or not.

    \b
    raybench report results/run-20260101T120000Z --format markdown
    """
    from raybench.store import StoreError

    try:
        _report(_console(), folder, kind)
    except StoreError as error:
        raise WrongInput(str(error)) from error


def _report(console: Console, folder: Path, kind: str = "text") -> Any:
    from raybench.report import report as derive
    from raybench.report import save
    from raybench.report.text import markdown, print_report
    from raybench.store import StoreError

    summary = derive(folder)
    if kind == "markdown":
        click.echo(markdown(summary), nl=False)
    else:
        print_report(console, summary, folder)
    try:
        save(folder, summary)
    except StoreError as error:  # what was asked for has been printed
        click.echo(f"warning: {error}", err=True)
    return summary


@main.command()
def doctor() -> None:
    """Say what works on this machine, what does not, and the remedy; exit 1 where the main job cannot run.

    \b
    raybench doctor
    raybench run --workers 4          the main job
    """
    from raybench.doctor import examine, print_findings, verdict

    found = examine()
    print_findings(_console(), found)
    sys.exit(1 if verdict(found) else 0)


def exit_code(summary: Any, benchmark: Benchmark) -> int:
    """The first that applies: 1 failed, 5 failed requests, 4 answers differ, 3 degraded under --strict, else 0."""
    statuses = {trial.status for trial in summary.trials}
    if "failed" in statuses:
        return 1
    if any(trial.requests.error_rate > benchmark.max_error_rate for trial in summary.trials):
        return 5
    if any(trial.verification and trial.verification["agrees"] is False for trial in summary.trials):
        return 4
    if benchmark.strict and statuses & {"degraded", "unstable"}:
        return 3
    return 0


def _console() -> Console:
    """A terminal as wide as it is; a file or pipe wide enough for the table."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def _parsed(flags: dict[str, Any]) -> dict[str, Any]:
    """Flags whose text holds several values, as values."""
    parsed = dict(flags)
    if flags["instances"] is not None:
        try:
            parsed["instances"] = tuple(int(n) for n in flags["instances"].split(","))
        except ValueError as error:
            raise ConfigError(f"instances is {flags['instances']}; give numbers such as 1,2") from error
    pairs = [text.partition("=") for text in flags["url"]]
    if wrong := [kind for kind, equals, url in pairs if not (equals and url)]:
        raise ConfigError(f"url is {wrong[0]}; write KIND=HOST:PORT")
    parsed["url"] = {kind: url for kind, _, url in pairs}
    if len(parsed["url"]) < len(pairs):
        raise ConfigError(f"url is {', '.join(flags['url'])}; name each server once")
    return parsed


def _warn_of_bind(address: str) -> None:
    if address not in ("127.0.0.1", "localhost", "::1"):
        click.echo(
            f"warning: the server listens on {address}; this Triton (2.51) predates known security fixes, "
            f"so let only hosts that you trust reach it",
            err=True,
        )


def _heed_interrupts() -> None:
    """Ctrl-C or SIGTERM once ends in order, twice at once: guardians then end what we started.

    A thread counts them: while the main one waits inside Ray, Python would take two of them for one.
    """
    counted, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    for number in _INTERRUPTS:
        signal.signal(number, _interrupt)
    threading.Thread(target=_leave_at_the_second, args=(counted,), daemon=True).start()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _leave_at_the_second(counted: int) -> None:
    left = 2
    while left:
        left -= os.read(counted, 1)[0] in _INTERRUPTS
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # the live view hides the cursor
    os._exit(_INTERRUPTED)
