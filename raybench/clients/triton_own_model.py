"""A Triton model under its own name: what it takes and returns by Triton's metadata and config, whatever serves it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from raybench.clients.base import ClientError
from raybench.models.saved_models import Signature, TensorSpec

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OwnModel:
    """What Triton's ModelConfig says of a model; shapes have the batch axis where it has one."""

    config: Any

    @property
    def served_signature(self) -> str | None:
        """Of a SavedModel in layout per-model: which of its signatures requests call that name none."""
        parameters = self.config.parameters
        is_ours = "layout" in parameters and parameters["layout"].string_value == "per-model"
        return parameters["signature"].string_value if is_ours and "signature" in parameters else None

    def signature(self, metadata: Any) -> Signature:
        """By its ModelMetadata; raises ClientError for a model that does not answer each request by one reply."""
        self._check_kind()
        return Signature(
            inputs={each.name: self._spec(each, self._input_shapes) for each in metadata.inputs},
            outputs={each.name: self._spec(each, self._output_shapes) for each in metadata.outputs},
            optional=frozenset(each.name for each in self.config.input if each.optional),
            most_items=self.config.max_batch_size or None,
        )

    def wire_shape(self, name: str, shape: Shape) -> Shape:
        """The shape in which an input of the model's own shape travels."""
        if name not in self._input_shapes:
            return shape or (1,)
        return (*shape[: self._batch_axes], *self._input_shapes[name][0])

    def own_shape(self, name: str, shape: Shape) -> Shape:
        """The shape of an output that came with a wire shape."""
        return (*shape[: self._batch_axes], *self._output_shapes[name][1]) if name in self._output_shapes else shape

    @property
    def _batch_axes(self) -> int:
        return 1 if self.config.max_batch_size > 0 else 0

    @cached_property
    def _input_shapes(self) -> Mapping[str, tuple[Shape, Shape]]:
        return _reshaped(self.config.input)

    @cached_property
    def _output_shapes(self) -> Mapping[str, tuple[Shape, Shape]]:
        return _reshaped(self.config.output)

    def _spec(self, tensor: Any, reshaped: Mapping[str, tuple[Shape, Shape]]) -> TensorSpec:
        shape = tuple(map(int, tensor.shape))
        if tensor.name in reshaped:
            shape = (*shape[: self._batch_axes], *reshaped[tensor.name][1])
        return TensorSpec(tensor.datatype, shape)

    def _check_kind(self) -> None:
        config = self.config
        if config.model_transaction_policy.decoupled:
            raise ClientError(
                f"model is {config.name}; it is decoupled, and may answer a request with none or many replies, which "
                "raybench does not measure: name another"
            )
        if config.HasField("sequence_batching"):
            raise ClientError(
                f"model is {config.name}; it batches sequences, whose requests depend on each other, which raybench "
                "does not measure: name another"
            )


def _reshaped(tensors: Iterable[Any]) -> dict[str, tuple[Shape, Shape]]:
    """By name the shapes on the wire and in the model, without the batch axis, where they differ and are known.

    Triton reshapes a tensor of free sizes too: such a one stays as it travels.
    """
    found = {}
    for each in tensors:
        wire, own = tuple(map(int, each.dims)), tuple(map(int, each.reshape.shape))
        if each.HasField("reshape") and -1 not in (*wire, *own):
            found[each.name] = (wire, own)
    return found
