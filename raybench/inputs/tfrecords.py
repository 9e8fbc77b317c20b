"""TFRecord files of tf.train.Example, read without TensorFlow.

The framing (length, checksum, data, checksum) and the field numbers are those of TensorFlow's record_writer.cc,
example.proto and feature.proto; the messages live in a pool of their own, so the real classes can be imported too.
"""

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from raybench.inputs.wanted_values import MisfitError

_HEADER, _FOOTER_BYTES = struct.Struct("<QI"), 4
_LONGEST = 2**31
Row = dict[str, Any]

# message -> field -> (number, type); "*" marks repeated. The map of features is written as repeated entries.
_MESSAGES = {
    "Example": {"features": (1, "Features")},
    "Features": {"feature": (1, "*Entry")},
    "Entry": {"key": (1, "string"), "value": (2, "Feature")},
    "Feature": {"bytes_list": (1, "BytesList"), "float_list": (2, "FloatList"), "int64_list": (3, "Int64List")},
    "BytesList": {"value": (1, "*bytes")},
    "FloatList": {"value": (1, "*float")},
    "Int64List": {"value": (1, "*int64")},
}  # fmt: skip


def records(stream: Any) -> Iterator[bytes]:
    """The records of an open file; raises ValueError where it is cut off, or is no TFRecord file."""
    while header := stream.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise ValueError("it is cut off")
        length, _ = _HEADER.unpack(header)
        if length > _LONGEST:
            raise ValueError("it is not a TFRecord file")
        data = stream.read(length + _FOOTER_BYTES)
        if len(data) < length + _FOOTER_BYTES:
            raise ValueError("it is cut off, or not a TFRecord file")
        yield bytes(data[:length])


def row_of(record: bytes) -> Row:
    """The features of an Example by name, as lists of numbers or bytes; raises MisfitError."""
    example = _example()
    try:
        example.ParseFromString(record)
    except message.DecodeError as error:
        raise MisfitError("it is not a tf.train.Example") from error
    return {entry.key: _values(entry.value) for entry in example.features.feature}


def _values(feature: Any) -> Any:
    """The list of a feature; its only value where it is bytes, which a scalar is mostly written as."""
    for name in ("bytes_list", "float_list", "int64_list"):
        if feature.HasField(name):
            return list(getattr(feature, name).value)
    return None


def _example() -> Any:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName("raybench.records.Example"))()


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    package = "raybench.records"
    file = descriptor_pb2.FileDescriptorProto(name="raybench/records.proto", package=package, syntax="proto3")
    for name, fields in _MESSAGES.items():
        proto = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            field, base = proto.field.add(name=field_name, number=number), kind.lstrip("*")
            field.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            field.type = field.TYPE_MESSAGE if base in _MESSAGES else getattr(field, f"TYPE_{base.upper()}")
            if base in _MESSAGES:
                field.type_name = f".{package}.{base}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
