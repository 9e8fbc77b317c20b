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
def export(architectures: tuple[str, ...], out: str, weights: str, variants: str, amp: str, seed: int) -> None:
    """Export models of keras.applications as SavedModels named ARCHITECTURE-VARIANT.

    Without ARCHITECTURES: resnet50 and efficientnetb0.

    \b
    raybench export resnet50 --variants no-opt --out models

    A model that exists gets a new version; remove older ones when no server needs them.
    """
    wanted = tuple(variants.split(","))
    if unknown := [variant for variant in wanted if variant not in config.VARIANTS]:
        raise WrongInput(f"variants has {unknown[0]!r}; choose from {', '.join(config.VARIANTS)}")
    from raybench.cli.progress.waiting import waiting
    from raybench.inputs.photos import calibration_crops
    from raybench.models.export import export as write  # TensorFlow: only here

    names = architectures or ("resnet50", "efficientnetb0")
    try:
        crops = partial(calibration_crops, seed=seed)
        with waiting(f"exporting {', '.join(names)} (about 40 s each on two cores)"):
            for folder in write(names, Path(out), weights=weights, variants=wanted, seed=seed, amp=amp, crops=crops):
                click.echo(f"exported {folder}")
                if note := _policy_note(Path(out) / "models.conf", folder):
                    click.echo(note, err=True)
    except ValueError as error:
        raise WrongInput(str(error)) from error
    except OSError as error:
        raise WrongInput(f"out is {out}; it cannot be written ({error}): name another folder, or make room") from error


def _policy_note(models_conf: Path, folder: Path) -> str | None:
    """Why models.conf does not serve what was just exported, and the remedy; None where it does."""
    from raybench.models.saved_models import read_models_conf

    name, version = folder.parent.name, int(folder.name)
    served = next(model.versions() for model in read_models_conf(models_conf) if model.name == name)
    if version in served:
        return None
    listed = ", ".join(map(str, served))
    return f"{models_conf} serves version {listed} of {name}: add {version} to its model_version_policy to serve it"
