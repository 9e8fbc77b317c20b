"""raybench export: Keras models as SavedModels."""

from functools import partial
from pathlib import Path

import click

from raybench import config
from raybench.cli.usage_errors import Text, WrongInput


@click.command()
@click.argument("architectures", nargs=-1)
@click.option(
    "--out", type=Text(), default="models", show_default=True, help="Folder for the SavedModels and models.conf."
)
@click.option(
    "--weights",
    type=click.Choice(["random", "imagenet"]),
    default="random",
    show_default=True,
    help="Random weights that give each image its own answer, or Keras's, which are downloaded.",
)
@click.option("--variants", default="no-opt,xla-amp", show_default=True, help="Comma list of no-opt and xla-amp.")
@click.option(
    "--amp",
    type=click.Choice(["float16", "bfloat16"]),
    default="float16",
    show_default=True,
    help="Type in which xla-amp computes.",
)
@click.option(
    "--seed", type=click.IntRange(0, config.LARGEST_SEED), default=0, show_default=True, help="Seed of random weights."
)
@click.option(
    "--warmup",
    default="",
    metavar="ITEMS",
    help="Batch sizes, such as 1,8: TF Serving then answers one request of each, for each signature, before it is "
    "ready; blocks for Triton's config.pbtxt are written too.",
)
def export(
    architectures: tuple[str, ...], out: str, weights: str, variants: str, amp: str, seed: int, warmup: str
) -> None:
    """Export models of keras.applications as SavedModels named ARCHITECTURE-VARIANT.

    Without ARCHITECTURES: resnet50 and efficientnetb0.

    \b
    raybench export resnet50 --variants no-opt --out models
    raybench export resnet50 --warmup 1,8

    A model that exists gets a new version; remove older ones when no server needs them.
    """
    wanted = tuple(variants.split(","))
    if unknown := [variant for variant in wanted if variant not in config.VARIANTS]:
        raise WrongInput(f"variants has {unknown[0]!r}; choose from {', '.join(config.VARIANTS)}")
    from raybench.cli.progress.waiting import waiting
    from raybench.inputs.photos import calibration_crops
    from raybench.models.export import export as write  # TensorFlow: only here

    complete = partial(_add_warm_up, batch_sizes=_batch_sizes(warmup), seed=seed) if warmup else None
    names = architectures or ("resnet50", "efficientnetb0")
    try:
        crops = partial(calibration_crops, seed=seed)
        with waiting(f"exporting {', '.join(names)} (about 40 s each on two cores)"):
            for folder in write(
                names,
                Path(out),
                weights=weights,
                variants=wanted,
                seed=seed,
                amp=amp,
                crops=crops,
                complete=complete,
            ):
                click.echo(f"exported {folder}")
                if note := _policy_note(Path(out) / "models.conf", folder):
                    click.echo(note, err=True)
    except ValueError as error:
        raise WrongInput(str(error)) from error
    except OSError as error:
        raise WrongInput(f"out is {out}; it cannot be written ({error}): name another folder, or make room") from error


def _batch_sizes(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if wrong := [each for each in sizes if not (each.isascii() and each.isdecimal() and 0 < int(each) < 2**31)]:
        raise WrongInput(f"warmup has {wrong[0]!r}; write batch sizes of 1 or more, such as 1,8")
    return tuple(map(int, sizes))


def _add_warm_up(model: str, version: Path, *, batch_sizes: tuple[int, ...], seed: int) -> None:
    """The warm-up requests of a version, for TF Serving and for Triton."""
    from raybench.inputs.input_sources import inputs_of
    from raybench.models.export import write_records
    from raybench.servers.tfserving_warm_up import WARM_UP_FILE, warm_up_records
    from raybench.servers.triton_model_warmup import write_model_warmup
    from raybench.servers.warm_up import warm_up_calls

    calls = tuple(warm_up_calls(model, version, batch_sizes, inputs_of(config.load(None, {})), seed))
    write_records(version / WARM_UP_FILE, warm_up_records(version, calls))
    write_model_warmup(version, calls)


def _policy_note(models_conf: Path, folder: Path) -> str | None:
    """Why models.conf does not serve what was just exported, and the remedy; None where it does."""
    from raybench.models.saved_models import read_models_conf

    name, version = folder.parent.name, int(folder.name)
    served = next(model.versions() for model in read_models_conf(models_conf) if model.name == name)
    if version in served:
        return None
    listed = ", ".join(map(str, served))
    return f"{models_conf} serves version {listed} of {name}: add {version} to its model_version_policy to serve it"
