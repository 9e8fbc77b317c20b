"""What one Triton model serves, and how its requests name it: every SavedModel of models.conf, or a single one.

In layout multi, the default, requests name model and signature, and each input has a leading element of 1, as in the
original demo. In layout per-model the Triton model is one version of one SavedModel, in the folder `model.savedmodel`
beside this file; its tensors have their own names and Triton's batch axis, as Triton's TensorFlow backend had them.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from backend_parameters import PER_MODEL, BackendParameters
from bfloat16 import received
from declare import single, union
from gpu_inputs import lent
from loaded_models import LoadedModels, ServedModel
from request_parsing import RawRequest, RequestParser
from saved_models import Signature, read_signatures

SAVED_MODEL = "model.savedmodel"  # the name that Triton's TensorFlow backend gave it
_SERVING_DEFAULT = "serving_default"
_HERE = Path(__file__).parent


class Layout(Protocol):
    """How a Triton model relates to SavedModels."""

    def declare(self, config: dict[str, Any]) -> None:
        """Add to a Triton config, in place, the tensors that it lacks: Triton silently drops others."""

    def models(self) -> list[ServedModel]:
        """What to load."""

    def parser(self, config: Mapping[str, Any], loaded: LoadedModels) -> RequestParser:
        """What understands this layout's requests."""

    def raw(self, request: Any) -> RawRequest:
        """A request of Triton's as the parser takes it."""


def layout_of(parameters: BackendParameters, args: Mapping[str, str] | None = None) -> Layout:
    """The layout that the config asks for; `args` are those of initialize()."""
    if parameters.layout == PER_MODEL:
        return PerModel(parameters, **_named(args)) if args else PerModel(parameters)
    return Multi(parameters)


@dataclass(frozen=True)
class Multi:
    """One Triton model for every SavedModel and signature of models.conf."""

    parameters: BackendParameters

    def declare(self, config: dict[str, Any]) -> None:
        for where, reason in union(config, self._signatures()).items():
            print(f"{where} cannot be served: {reason}", flush=True)  # the logger is not there yet

    def models(self) -> list[ServedModel]:
        return [*self.parameters.model_configs()]

    def parser(self, config: Mapping[str, Any], loaded: LoadedModels) -> RequestParser:
        refused = union({"input": config["input"], "output": []}, self._signatures())
        return _parser(config, loaded, {**loaded.failed, **refused})

    def raw(self, request: Any) -> RawRequest:
        return _raw(request)

    def _signatures(self) -> list[tuple[str, Signature]]:
        """Pairs of "model/signature" and Signature, of the models that can be read: loading says why one cannot."""
        found = []
        for model in self.parameters.model_configs():
            with suppress(ValueError):
                read = [read_signatures(model.version_folder(version)) for version in model.versions()]
                found += [(f"{model.name}/{name}", each) for signatures in read for name, each in signatures.items()]
        return found


@dataclass(frozen=True)
class PerModel:
    """One Triton model for one version of one SavedModel; `name` and `version` are Triton's own."""

    parameters: BackendParameters
    name: str = ""
    version: int = 0
    folder: Path = _HERE / SAVED_MODEL

    def declare(self, config: dict[str, Any]) -> None:
        try:
            signature = read_signatures(self.folder)[self._default]
            single(config, signature, max_batch_size=self.parameters.max_batch_size)
        except ValueError as error:
            raise ValueError(f"model {config['name']} cannot be served: {error}") from None

    def models(self) -> list[ServedModel]:
        return [OneVersion(self.name, self.version, self.folder)]

    def parser(self, config: Mapping[str, Any], loaded: LoadedModels) -> RequestParser:
        declared = {entry["name"] for side in ("input", "output") for entry in config[side]}
        default = self._default  # read while the files are those that were loaded
        others = {
            str(key): f"model {self.name} serves {default}; parameter signature of its config chooses another"
            for key, signature in loaded.signatures.items()
            if not {*signature.inputs, *signature.outputs} <= declared
        }
        return replace(_parser(config, loaded, {**loaded.failed, **others}), routing=frozenset())

    def raw(self, request: Any) -> RawRequest:
        """With the leading element and the routing that requests have in the other layout."""
        raw = _raw(request)
        routing = {"model": self.name, "version": self.version}
        parameters = {"signature": self._default, **raw.parameters, **routing}
        return replace(
            raw,
            arrays={name: array.reshape((1, *array.shape)) for name, array in raw.arrays.items()},
            parameters=parameters,
        )

    @cached_property
    def _default(self) -> str:
        """The signature of requests that name none; raises ValueError where a user has to choose."""
        signatures, asked = read_signatures(self.folder), self.parameters.signature
        chosen = asked or (next(iter(signatures)) if len(signatures) == 1 else _SERVING_DEFAULT)
        if chosen not in signatures:
            listed = ", ".join(sorted(signatures)) or "none"
            raise ValueError(f"it has signatures {listed}, not {chosen!r}: choose one with parameter signature")
        return chosen


@dataclass(frozen=True)
class OneVersion:
    """A SavedModel in a folder of its own, under the name and version that Triton has for it."""

    name: str
    version: int
    folder: Path

    def versions(self) -> tuple[int, ...]:
        return (self.version,)

    def version_folder(self, version: int) -> Path:
        return self.folder


def _named(args: Mapping[str, str]) -> dict[str, Any]:
    return {"name": args["model_name"], "version": int(args["model_version"])}


def _parser(config: Mapping[str, Any], loaded: LoadedModels, unservable: Mapping[str, str]) -> RequestParser:
    return RequestParser(
        versions=loaded.versions,
        signatures=loaded.signatures,
        unservable=unservable,
        declared_outputs=frozenset(entry["name"] for entry in config["output"]),
    )


def _raw(request: Any) -> RawRequest:
    return RawRequest(
        arrays={tensor.name(): received(tensor) if tensor.is_cpu() else lent(tensor) for tensor in request.inputs()},
        parameters=json.loads(request.parameters() or "{}"),
        outputs=frozenset(request.requested_output_names()),
    )
