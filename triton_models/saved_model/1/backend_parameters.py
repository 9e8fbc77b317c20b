"""The backend's own parameters in a Triton config, as config.pbtxt declares them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from request_parsing import listing
from saved_models import ModelConfig, local_path, read_models_conf

MULTI, PER_MODEL = "multi", "per-model"
_MERGE_MAX_ITEMS = 64
_MAX_BATCH_SIZE = 64


@dataclass(frozen=True)
class BackendParameters:
    """Which models to serve, what to call before serving, and how requests share TensorFlow calls.

    In layout per-model, where `models_conf` is None, `signature` is called where a request names none (empty: the
    model's default), `max_batch_size` is Triton's where its config has none, and `facts` is a folder for a file that
    says how requests are executed.
    """

    layout: str
    models_conf: Path | None
    models: tuple[str, ...]
    keep: tuple[str, ...]
    signature: str
    max_batch_size: int
    facts: Path | None
    warm_up: str
    merge: str
    merge_max_items: int
    merge_xla: bool
    pipeline_depth: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "BackendParameters":
        """Raises KeyError or ValueError where a parameter is missing or malformed; an older config lacks some."""
        text = {key: str(value["string_value"]) for key, value in config["parameters"].items()}
        layout = text.get("layout", MULTI)
        if layout not in (MULTI, PER_MODEL):
            raise ValueError(f"parameter layout is {layout!r}; write {MULTI} or {PER_MODEL}")
        most_items = int(config.get("max_batch_size", 0)) if layout == PER_MODEL else 0
        return cls(
            layout=layout,
            models_conf=local_path(text["models_conf"]) if layout == MULTI else None,
            models=_names(text.get("models", "")),
            keep=_names(text.get("keep", "")),
            signature=text.get("signature", text.get("TF_SIGNATURE_DEF", "")),  # as Triton's TensorFlow backend had it
            max_batch_size=int(text.get("max_batch_size", _MAX_BATCH_SIZE)),
            facts=local_path(text["facts"]) if "facts" in text else None,
            warm_up=text.get("warm_up", "{}"),
            merge=text.get("merge", ""),
            merge_max_items=int(text.get("merge_max_items", most_items or _MERGE_MAX_ITEMS)),
            merge_xla=text.get("merge_xla", "false") == "true",
            pipeline_depth=text.get("pipeline_depth", "auto"),
        )

    def model_configs(self) -> list[ModelConfig]:
        """The models to serve; raises ValueError for one that is not in models.conf."""
        if self.models_conf is None:
            raise ValueError("layout per-model has no models.conf")
        found = {model.name: model for model in read_models_conf(self.models_conf)}
        for name in self.models:
            if name not in found:
                raise ValueError(f"parameter models: {name!r} is not in models.conf; it has {listing(found)}")
        return [found[name] for name in self.models] or list(found.values())


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)
