"""raybench serve: a real server in the foreground."""

from pathlib import Path

import click

from raybench.cli.base import Text, WrongInput, warn_of_bind
from raybench.config import ConfigError


@click.group()
def serve() -> None:
    """Start a real server in the foreground.

    \b
    raybench serve triton --models models
    """


@serve.command("triton")
@click.option("--models", type=Text(), default="models", show_default=True, help="Folder with models.conf.")
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
        warn_of_bind(server_bind)
        serve(options, say=click.echo, complain=lambda sentence: click.echo(sentence, err=True))
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    except ServerError as error:
        raise click.ClickException(str(error)) from error
