"""Seeded random strings of the forms that models parse: text, numbers, JSON, and serialized tf.Examples."""

import base64
import json

import numpy as np

from raybench.inputs import enumeration

TEXT, DIGITS, DIGIT, DECIMAL, JSON, EXAMPLE = "text", "digits", "digit", "decimal", "json", "tf.Example"
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_FIGURES = b"0123456789"
_MOST_FIGURES = {DIGITS: 9, DIGIT: 1, DECIMAL: 9}  # an int32 holds nine
_FEATURE = "raybench"  # that no model asks for


def choices(form: str, length: int) -> int | None:
    """How many strings of a form there are; None where they hardly ever are alike."""
    alphabet, letters = _alphabet(form), _letters(form, length)
    return len(alphabet) ** letters if letters <= enumeration.LARGEST.bit_length() else None


def chosen(form: str, length: int, number: int) -> bytes:
    """The string of a number, of a form that has so many."""
    alphabet = _alphabet(form)
    drawn = enumeration.digits(number, len(alphabet), _letters(form, length))
    return _formed(form, bytes(alphabet[digit] for digit in drawn))


def drawn(form: str, length: int, rng: np.random.Generator) -> bytes:
    """A string of a form."""
    alphabet = np.frombuffer(_alphabet(form), np.uint8)
    return _formed(form, alphabet[rng.integers(0, len(alphabet), _letters(form, length))].tobytes())


def most_bytes(form: str, length: int) -> int:
    """The size of a string of a form."""
    return len(chosen(form, length, 0))


def _letters(form: str, length: int) -> int:
    return min(length, _MOST_FIGURES.get(form, length))


def _alphabet(form: str) -> bytes:
    return _FIGURES if form in _MOST_FIGURES else _LETTERS


def _formed(form: str, letters: bytes) -> bytes:
    if form == DECIMAL:
        return b"0." + letters
    if form == JSON:
        value = {"bytesList": {"value": [base64.b64encode(letters).decode()]}}  # of a tf.Example in JSON
        return json.dumps({"features": {"feature": {_FEATURE: value}}}).encode()
    if form == EXAMPLE:
        return _example(letters)
    return letters


def _example(letters: bytes) -> bytes:
    """A serialized tf.Example with one feature: tensorflow/core/example/example.proto and feature.proto."""
    feature = _field(1, _field(1, letters))  # Feature.bytes_list.value
    entry = _field(1, _FEATURE.encode()) + _field(2, feature)  # of the map Features.feature
    return _field(1, _field(1, entry))  # Example.features


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))
