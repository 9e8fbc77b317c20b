"""Why a configuration is refused: one sentence with field, value and remedy."""

import reprlib

_LONGEST_SHOWN = 200

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


class ConfigError(ValueError):
    """A wrong configuration: one sentence with field, value and remedy."""


def refusal(name: str, value: object, remedy: str) -> ConfigError:
    """The error for a setting with such a value."""
    shown = ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    is_plain = is_text(shown) and len(shown) <= _LONGEST_SHOWN
    return ConfigError(f"{name.replace('_', '-')} is {shown if is_plain else short(shown)}; {remedy}")


def require(holds: bool, name: str, value: object, remedy: str) -> None:
    """Raise ConfigError unless the condition holds."""
    if not holds:
        raise refusal(name, value, remedy)


def is_text(text: str) -> bool:
    """Whether a text that a user gave can stand in a line, a file's name and a path."""
    return bool(text.strip()) and text.isprintable()


def short(value: object) -> str:
    """A value as it may be shown: in one line that is not long."""
    return _repr.repr(value)
