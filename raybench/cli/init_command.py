"""raybench init: a first benchmark.yaml."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import click

from raybench.cli.usage_errors import WrongInput
from raybench.config import SETTINGS
from raybench.config.json_schema import PATH as SCHEMA

_TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Measure with: raybench run {file}
# Flags override what stands here, for example --rounds 1 for a quick look.

# What is compared. Add tfserving where tensorflow_model_server or Docker is there;
# url: {{triton: "127.0.0.1:8001"}} measures a server that is already running.
server: [local, triton]

# {about}
models: {models}
model: {model}

# Each cell is measured this often: 5 rounds or more give intervals and verdicts.
rounds: 5

# The loads, each a row of the table for each server and model.
# A closed loop sends the next request when a reply is in; request_rate is an open loop: users who arrive on their own.
loads:
  - {{workers: 1, concurrency: 1, batch_size: 1, duration: 10}}
  - {{workers: 1, concurrency: 4, batch_size: 8, duration: 10}}
  # - {{workers: 1, batch_size: 1, request_rate: [10, 20], duration: 30}}

# Exit 99 where a row misses one of these: a gate for CI.
# threshold: ["p99<200ms", "error_rate<1%"]

# Inputs are made from the model's signature; your own:
# input: [./photos]        # a folder of images, .npz, .jsonl, .csv, .parquet, .tfrecord, perf_analyzer's .json
"""


@click.command()
@click.option("--models", default="models", show_default=True, help="Folder with models.conf.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("benchmark.yaml"),
    show_default=True,
    help="File to write; one that exists is left alone.",
)
def init(models: str, out: Path) -> None:
    """Write a commented benchmark.yaml for the models that are there.

    \b
    raybench init
    raybench init --models /srv/models --out nightly.yaml
    """
    try:
        text = starter(models, _names(Path(models) / "models.conf"), out.name)
    except ValueError as error:
        raise WrongInput(str(error)) from error
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise WrongInput(f"out is {out}, which exists; name another file, or remove it") from error
    except OSError as error:
        raise WrongInput(f"out is {out}; it cannot be written: {error.strerror}") from error
    click.echo(f"wrote {out}\nnext: raybench run {out} --dry-run  # the trials, and about how long they take")


def starter(models: str, names: Sequence[str], file: str) -> str:
    """The text of a first YAML; where there are no models yet it names the default one, which `run` exports."""
    default = cast("tuple[str, ...]", SETTINGS["model"].default)
    about = "All models of models.conf." if names else f"There are no models yet: raybench exports {default[0]}."
    return _TEMPLATE.format(
        schema=SCHEMA, file=file, about=about, models=json.dumps(models), model=json.dumps(list(names or default))
    )


def _names(models_conf: Path) -> list[str]:
    from raybench.models.saved_models import read_models_conf

    return [model.name for model in read_models_conf(models_conf)] if models_conf.exists() else []
