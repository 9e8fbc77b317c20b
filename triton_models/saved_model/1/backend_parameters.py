"""The backend's own parameters in a Triton config, as config.pbtxt declares them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from request_parsing import listing
from saved_models import ModelConfig, local_path, read_models_conf


@dataclass(frozen=True)
class BackendParameters:
    """Which models to serve, what to call before serving, and how requests share TensorFlow calls."""

    models_conf: Path
    models: tuple[str, ...]
    keep: tuple[str, ...]
    warm_up: str
    merge: str
    merge_max_items: int
    merge_xla: bool
    pipeline_depth: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "BackendParameters":
        """Raises KeyError or ValueError where a parameter is missing or malformed; an older config lacks some."""
        text = {key: str(value["string_value"]) for key, value in config["parameters"].items()}
        return cls(
            models_conf=local_path(text["models_conf"]),
            models=_names(text["models"]),
            keep=_names(text.get("keep", "")),
            warm_up=text["warm_up"],
            merge=text.get("merge", ""),
            merge_max_items=int(text["merge_max_items"]),
            merge_xla=text["merge_xla"] == "true",
            pipeline_depth=text["pipeline_depth"],
        )

    def model_configs(self) -> list[ModelConfig]:
        """The models to serve; raises ValueError for one that is not in models.conf."""
        found = {model.name: model for model in read_models_conf(self.models_conf)}
        for name in self.models:
            if name not in found:
                raise ValueError(f"parameter models: {name!r} is not in models.conf; there are {listing(found)}")
        return [found[name] for name in self.models] or list(found.values())


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)
