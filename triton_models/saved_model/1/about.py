"""What the backend says of itself: how requests for a signature are executed here, and what is served at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamic_batching import SignatureKey
from graph_facts import graph_facts
from loaded_models import LoadedModels
from saved_models import TensorSpec
from tensorflow_facts import tensorflow_facts


@dataclass(frozen=True)
class About:
    """Facts about loaded models; `unservable` says why others, or signatures of theirs, are not served."""

    tf: Any
    models: LoadedModels
    unservable: Mapping[str, str]
    max_items: int
    pipeline_depth: int
    warm_ups: list[list[float]]  # begin and end of the warm-up calls, s of time.monotonic

    def signature(self, key: SignatureKey) -> dict[str, Any]:
        """How requests for a signature are executed: TensorFlow's version and threads, batching, XLA."""
        return {
            **tensorflow_facts(self.tf),
            "merges": self.max_items > 1 and key in self.models.batchable,
            "unmerged": self.models.unmerged.get(key),
            "xla": graph_facts(self.models.functions[key]).is_compiled,
            "pipeline_depth": self.pipeline_depth,
        }

    def overview(self) -> dict[str, Any]:
        """What is served and what not, which signatures' requests never share a call, and what each takes and gives."""
        return {
            "models": [*self.models.versions],
            "unservable": dict(self.unservable),
            "unmerged": {str(key): reason for key, reason in self.models.unmerged.items()},
            "signatures": self._signatures(),
            "warm_ups": self.warm_ups,
        }

    def write(self, folder: Path, model: str, version: int) -> None:
        """Leave the overview and the facts of each signature of one model in a file; several instances write the same.

        The model `echo` gives them to clients: a Triton model under its own name has no output for them.
        """
        facts = {key.signature: self.signature(key) for key in self.models.signatures}
        text = json.dumps({**self.overview(), "model": model, "version": version, "facts": facts})
        new = folder / f".{model}.{version}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(folder / f"{model}.{version}.json")

    def _signatures(self) -> dict[str, dict[str, Any]]:
        """By model and name, of the newest version that is served: what a client must send, and what it gets."""
        found: dict[str, dict[str, Any]] = {}
        for key, signature in self.models.signatures.items():
            if key.version == self.models.versions[key.model][-1] and str(key) not in self.unservable:
                of_model = found.setdefault(key.model, {})
                of_model[key.signature] = [_tensors(signature.inputs), _tensors(signature.outputs)]
        return found


def _tensors(specs: dict[str, TensorSpec]) -> dict[str, list[Any]]:
    return {name: [spec.datatype, None if spec.shape is None else list(spec.shape)] for name, spec in specs.items()}
