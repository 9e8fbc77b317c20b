"""Listed models as text of 80 columns, and as JSON."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raybench.driver.model_listing import ListedModel, ListedSignature, Sent
    from raybench.models.saved_models import TensorSpec

_WIDTH = 80
_INDENT = " " * 4
_NO_BREAK = "\N{NO-BREAK SPACE}"


def as_text(models: Iterable["ListedModel"]) -> str:
    """A paragraph for each model: its signatures with their tensors, and what would be sent."""
    return "\n\n".join("\n".join(_model(model)) for model in models) + "\n"


def as_json(models: Iterable["ListedModel"]) -> str:
    """An object with `models`; what is not known is null."""
    listed = [
        {
            "name": model.name,
            "where": model.where,
            "versions": list(model.versions) or None,
            "problem": model.reason,
            "signatures": [_signature_fields(each) for each in model.signatures],
        }
        for model in models
    ]
    return json.dumps({"models": listed}, indent=2, ensure_ascii=False) + "\n"


def _model(model: "ListedModel") -> Iterator[str]:
    versions = ", ".join(map(str, model.versions))
    about = [f"version{'s' if len(model.versions) > 1 else ''} {versions}"] if versions else []
    yield f"{model.name}  ({', '.join([*about, model.where])})"
    if model.reason:
        yield from _wrapped("problem", model.reason)
    for signature in model.signatures:
        name = f"  {signature.name or 'its only signature'}"
        yield f"{name}  (default)" if signature.is_default and signature.name else name
        yield from _tensors(signature)
        yield from _sent(signature)


def _tensors(signature: "ListedSignature") -> Iterator[str]:
    rows = [
        (side, name, spec.datatype, _shape(spec.shape), _remark(signature, side, name))
        for side, tensors in (("in", signature.signature.inputs), ("out", signature.signature.outputs))
        for name, spec in tensors.items()
    ]
    widths = [max(len(row[column]) for row in rows) if rows else 0 for column in range(4)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, (7, *widths[1:], 0), strict=True))
        yield f"{_INDENT}{'  '.join(padded)}".rstrip()


def _remark(signature: "ListedSignature", side: str, name: str) -> str:
    return "may be left out" if side == "in" and name in signature.signature.optional else ""


def _shape(shape: Sequence[int] | None) -> str:
    return "any rank" if shape is None else str(list(shape))


def _sent(signature: "ListedSignature") -> list[str]:
    if signature.sent is None:
        return _wrapped("problem", signature.reason or "cannot be measured")
    sent = signature.sent
    encoding = re.sub(r"\[[^])]*[])]", lambda range_or_shape: range_or_shape[0].replace(" ", _NO_BREAK), sent.encoding)
    return [line.replace(_NO_BREAK, " ") for line in _wrapped("sends", f"{encoding}; {_size(sent)}")]


def _size(sent: "Sent") -> str:
    if sent.items is None:
        return f"{sent.item_bytes:,} bytes an item"
    if sent.items == 1:
        return f"{sent.item_bytes:,} bytes a request"
    return f"{sent.item_bytes:,} bytes an item, {sent.items} items per request"


def _wrapped(label: str, text: str) -> list[str]:
    first = f"{_INDENT}{label:<7}  "
    return wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def _signature_fields(each: "ListedSignature") -> dict[str, object]:
    sent = each.sent
    return {
        "name": each.name or None,
        "is_default": each.is_default,
        "inputs": _tensor_fields(each.signature.inputs, each.signature.optional),
        "outputs": _tensor_fields(each.signature.outputs, frozenset()),
        "most_items": each.signature.most_items,
        "encoding": sent.encoding if sent else None,
        "item_bytes": sent.item_bytes if sent else None,
        "items_per_request": sent.items if sent else None,
        "problem": each.reason,
    }


def _tensor_fields(tensors: Mapping[str, "TensorSpec"], optional: frozenset[str]) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "datatype": spec.datatype,
            "shape": None if spec.shape is None else list(spec.shape),
            "is_optional": name in optional,
        }
        for name, spec in tensors.items()
    ]
