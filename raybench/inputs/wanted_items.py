"""What an item of each input and output of a signature has to be."""

from collections.abc import Mapping

from raybench.inputs.batch_axis import has_item_axis
from raybench.inputs.random_values import NUMPY_TYPES
from raybench.inputs.wanted_values import Wanted
from raybench.models.saved_models import Signature, TensorSpec


def wanted_inputs(signature: Signature, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Wanted]:
    """What an item of each input has to be: as declared, where --shape does not narrow it."""
    has_axis = has_item_axis(signature)
    return {
        name: Wanted(
            name,
            spec.datatype,
            _narrowed(shapes.get(name), _item_shape(spec, has_axis=has_axis), has_axis=has_axis),
            is_optional=name in signature.optional,
        )
        for name, spec in signature.inputs.items()
        if spec.datatype in NUMPY_TYPES
    }


def wanted_outputs(signature: Signature) -> dict[str, Wanted]:
    """What an item of each output is."""
    has_axis = has_item_axis(signature)
    return {
        name: Wanted(name, spec.datatype, _fixed(_item_shape(spec, has_axis=has_axis)), is_optional=True)
        for name, spec in signature.outputs.items()
        if spec.datatype in NUMPY_TYPES
    }


def _item_shape(spec: TensorSpec, *, has_axis: bool) -> tuple[int, ...] | None:
    return spec.shape[1:] if has_axis and spec.shape else spec.shape


def _narrowed(
    given: tuple[int, ...] | None, declared: tuple[int, ...] | None, *, has_axis: bool
) -> tuple[int, ...] | None:
    """The sizes given by --shape, without a leading 1 for the batch axis; else as declared."""
    if given is None:
        return declared
    has_one = has_axis and declared is not None and len(given) == len(declared) + 1 and given[0] == 1
    return given[1:] if has_one else given


def _fixed(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None or -1 in shape else shape
