"""The models that a server which we start is to serve, as models.conf and its folders have them now."""

from dataclasses import replace
from pathlib import Path

from raybench.models.saved_models import ModelConfig, read_models_conf
from raybench.servers.server_process import ServerError


def resolve_models(models_conf: Path, asked: tuple[str, ...] | None) -> tuple[ModelConfig, ...]:
    """The models to serve (None: all), as models.conf and its folders have them now, with the versions that are there.

    Raises ServerError, one sentence, where models.conf is broken, a model is not in it, or has no version to serve.
    """
    try:
        there = {model.name: model for model in read_models_conf(models_conf)}
        wanted = [there[name] for name in (there if asked is None else asked)]
        models = tuple(replace(model, policy="specific", specific=model.versions()) for model in wanted)
    except KeyError as error:
        known = ", ".join(there) or "none"
        raise ServerError(f"model is {error.args[0]}; {models_conf} has {known}: choose from those") from error
    except ValueError as error:
        raise ServerError(str(error)) from error
    if not models:
        raise ServerError(f"models is {models_conf.parent}; its models.conf has no models: export some")
    return models
