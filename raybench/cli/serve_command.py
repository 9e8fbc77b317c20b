"""raybench serve: a real server in the foreground."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, get_args

import click

from raybench.cli.console import print_bind_warnings
from raybench.cli.usage_errors import Text, WrongInput
from raybench.config import MULTI, SETTINGS, ConfigError, ServerSpec
from raybench.config.model_folders import named_folders
from raybench.config.refusal import require
from raybench.config.server_settings import KNOBS, ServerSettings, check_merging
from raybench.config.server_spec import Layout


@click.group()
def serve() -> None:
    """Start a real server in the foreground, until Ctrl-C.

    \b
    raybench serve triton --models models
    """


def _shared_flags(port: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The flags of every server, with its usual port."""
    options = [
        click.option("--models", type=Text(), default="models", show_default=True, help="Folder with models.conf."),
        click.option(
            "-m",
            "--model",
            multiple=True,
            help="Model of models.conf, or a SavedModel by FOLDER or NAME=FOLDER; all of models.conf by default.",
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), default=port, show_default=True, help="gRPC port; 0: a free one."
        ),
        click.option("--server-bind", default="127.0.0.1", show_default=True, help="Address to listen on."),
    ]
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(options), command)


def _knob_flags(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The flags of the knobs that a kind of server has, with one value each."""
    options = [
        click.option(
            f"--{knob.name.replace('_', '-')}",
            default=0,
            show_default=True,
            type=click.IntRange(min=0),
            help=SETTINGS[knob.name].help.partition(" Several values")[0],
        )
        for knob in KNOBS
        if kind in knob.kinds
    ]
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(options), command)


@serve.command("triton")
@_shared_flags(port=8001)
@click.option(
    "--instances", default=1, show_default=True, type=click.IntRange(1, 1000), help="Instances of the backend."
)
@_knob_flags("triton")
@click.option(
    "--layout",
    type=click.Choice(get_args(Layout)),
    default=MULTI,
    show_default=True,
    help="One Triton model for all SavedModels, or one for each under its own name, with Triton's batch axis.",
)
def serve_triton(
    models: str,
    model: tuple[str, ...],
    port: int,
    server_bind: str,
    instances: int,
    layout: str,
    **knobs: int,
) -> None:
    """Serve every SavedModel of models.conf from a real Triton until Ctrl-C; SIGHUP reloads.

    \b
    raybench serve triton --models models -m efficientnetb0-no-opt --instances 2
    raybench serve triton --models models --layout per-model
    raybench serve triton -m ./my-saved-model
    kill -HUP PID     reload models.conf and its SavedModels; the old ones answer until the new are ready
    """
    from raybench.servers.triton_server import TritonOptions, check, running_triton

    with _errors_in_a_sentence(), _served(models, model) as (models_conf, names):
        options = TritonOptions(
            models_conf=models_conf,
            models=names,
            instances=instances,
            bind=server_bind,
            grpc_port=port,
            settings=_settings("triton", knobs),
            layout=layout,
        )
        check(options)
        print_bind_warnings([ServerSpec(kind="triton")], server_bind)
        _serve(running_triton(options), "Triton")


@serve.command("tfserving")
@_shared_flags(port=8500)
@_knob_flags("tfserving")
@click.option(
    "--batching-file",
    type=click.Path(exists=True, dir_okay=False),
    help="File with its batching parameters, in place of --merge-max, --merge-delay and --merge-threads.",
)
def serve_tfserving(
    models: str, model: tuple[str, ...], port: int, server_bind: str, batching_file: str | None, **knobs: int
) -> None:
    """Serve models.conf from a real TensorFlow Serving, with XLA on, until Ctrl-C; SIGHUP reloads.

    \b
    raybench serve tfserving --models models -m efficientnetb0-no-opt
    raybench serve tfserving -m ./my-saved-model
    """
    from raybench.servers.tfserving_server import TfServingOptions, check, running_tfserving

    with _errors_in_a_sentence(), _served(models, model) as (models_conf, names):
        options = TfServingOptions(
            models_conf=models_conf,
            models=names,
            bind=server_bind,
            grpc_port=port,
            batching_file=Path(batching_file) if batching_file else None,
            settings=_settings("tfserving", knobs, batching_file),
        )
        check(options)
        print_bind_warnings([ServerSpec(kind="tfserving")], server_bind)
        _serve(running_tfserving(options), "TF Serving")


def _settings(kind: str, knobs: dict[str, int], batching_file: str | None = None) -> ServerSettings:
    """The settings of one server; raises ConfigError for those that it would not obey."""
    for name in ("merge_max", "merge_delay", "merge_threads") if batching_file else ():
        remedy = f"batching-file is {batching_file}, which says how requests are merged: leave out one of them"
        require(not knobs[name], name, knobs[name], remedy)
    check_merging((kind,), {name: (value,) for name, value in knobs.items()})
    return ServerSettings(**knobs)


@contextmanager
def _served(models: str, asked: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...] | None]]:
    """A models.conf with the folders among what is asked for, and the names of the models; None for all of them."""
    from raybench.models.named_folders import models_conf_with

    folders = dict[str, str]()
    names = named_folders(asked, folders)
    with models_conf_with(Path(models) / "models.conf", folders) as models_conf:
        yield models_conf, tuple(map(str, names)) or None


def _serve(starting: Any, name: str) -> None:
    from raybench.cli.progress.waiting import waiting
    from raybench.servers.foreground import serve

    def complain(sentence: str) -> None:
        click.echo(sentence, err=True)

    serve(starting, name=name, say=click.echo, complain=complain, waiting=waiting)


@contextmanager
def _errors_in_a_sentence() -> Iterator[None]:
    from raybench.servers import ServerError

    try:
        yield
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    except ServerError as error:
        raise click.ClickException(str(error)) from error
