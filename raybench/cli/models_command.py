"""raybench models: what there is to measure, and what would be sent."""

from typing import Any

import click

from raybench import config
from raybench.cli.listed_models import as_json, as_text
from raybench.cli.options import chosen_flags, parse
from raybench.cli.usage_errors import WrongInput
from raybench.config import ConfigError

_SETTINGS = (
    *("server", "url", "model", "models", "shape", "range", "string_length", "string_data", "input", "jpeg_quality"),
    *("tls_ca", "tls_cert", "tls_key", "tls_server_name", "header"),
)


@click.command()
@chosen_flags(*_SETTINGS, shown={"model": "all", "server": "those by --url, else local"})
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the output.",
)
def models(kind: str, **flags: Any) -> None:
    """List models with their signatures and tensors, and what `raybench run` would send to each.

    Integers and strings are tried on the model before a run, and narrowed where it refuses them.

    \b
    raybench models                                    those of models/models.conf
    raybench models -m ./my_model                      a SavedModel
    raybench models --url triton=127.0.0.1:8001        all of a running Triton
    raybench models --url tfserving=127.0.0.1:8500 -m resnet
    """
    from raybench.clients.grpc.connection_credentials import read_credentials
    from raybench.driver.model_listing import listed_models
    from raybench.inputs.input_sources import inputs_of

    try:
        parsed = parse(flags)
        parsed["server"] = flags["server"] or tuple(parsed["url"]) or ("local",)
        benchmark = config.load(None, parsed)
        asked = benchmark.all_models if flags["model"] else ()
        found = listed_models(benchmark, asked, inputs_of(benchmark), read_credentials(benchmark))
    except ConfigError as error:
        raise WrongInput(str(error)) from error
    click.echo({"text": as_text, "json": as_json}[kind](found), nl=False)
