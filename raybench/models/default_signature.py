"""Which signature of a model is called where the user names none."""

from collections.abc import Iterable, Mapping

from raybench.config import EXPORTED
from raybench.models.saved_models import ModelConfig, read_signatures

SERVING_DEFAULT = "serving_default"  # tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def default_signature(names: Iterable[str]) -> str | None:
    """The only one, serving_default, or that of our own exports; None where a user has to choose."""
    there = list(names)
    if len(there) == 1:
        return there[0]
    return next((name for name in (SERVING_DEFAULT, EXPORTED) if name in there), None)


def default_signatures(models: Mapping[str, ModelConfig]) -> dict[str, str]:
    """By name, of the models that can be read and have one; raises ValueError for one that leaves the choice open."""
    found = {}
    for name, model in models.items():
        try:
            there = read_signatures(model.version_folder(model.versions()[-1]))
        except ValueError:
            continue  # who serves it says why
        found[name] = _chosen(name, there)
    return found


def _chosen(model: str, there: Mapping[str, object]) -> str:
    if chosen := default_signature(there):
        return chosen
    if not there:
        raise ValueError(f"model is {model}; it has no signature: export it with one, such as {SERVING_DEFAULT}")
    raise ValueError(f"model is {model}; it has signatures {', '.join(there)}: choose one with --signature")
