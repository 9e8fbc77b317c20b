"""How a setting is declared, and what its flag, the YAML reader and its error sentences read from the declaration."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeVar, Union, cast, get_args, get_origin
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from raybench.config.refusal import ConfigError, is_text, refusal, short

DECLARED = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)  # not built for --help
LONGEST_NAME = 80  # a name or a signature becomes a part of a file's name, where UTF-8 and %XX make it longer
LONGEST_S = 10**6
_PRINTABLE = "give text without line breaks and control characters"
_TYPES = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
}  # by pydantic's name of the error
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
Kind = type[bool] | type[int] | type[float] | type[str]


@dataclass(frozen=True, kw_only=True)
class Flag:
    """What a flag needs beyond the type of its setting.

    `shown` replaces the default in the help; `is_menu`: click itself refuses what is not a choice.
    `is_absent`: only a YAML has the setting.
    """

    short: str | None = None
    shown: str | None = None
    is_menu: bool = False
    is_absent: bool = False


@dataclass(frozen=True)
class Remedy:
    """The end of the sentence for a value that lies outside of its bounds or pattern."""

    text: str


@dataclass(frozen=True)
class Unit:
    """What a number counts, as the help names it."""

    name: str


@dataclass(frozen=True)
class Form:
    """How a mapping is written in a YAML; the values of a secret one are never shown."""

    example: str
    is_secret: bool = False


class OneOrList:
    """Marks a tuple: a YAML may have a list, or a single value in place of a list of one."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_tuple, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        listed = handler(schema)
        return {"anyOf": [listed["items"], listed]}


def _as_tuple(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


T = TypeVar("T")


def _named(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise ValueError("give at least one")
    if len(set(values)) < len(values):
        raise ValueError("give each once")
    return values


def _printable(text: str) -> str:
    if not is_text(text):
        raise ValueError(_PRINTABLE)
    return text


def _brief(text: str) -> str:
    if len(quote(text, safe="")) > LONGEST_NAME:
        raise ValueError(f"give at most {LONGEST_NAME} characters")
    return text


SomeOf = Annotated[
    tuple[T, ...],
    Field(json_schema_extra={"minItems": 1, "uniqueItems": True}),
    AfterValidator(_named),
    OneOrList(),
]  # at least one, each once
AnyOf = Annotated[tuple[T, ...], OneOrList()]
Text = Annotated[str, AfterValidator(_printable)]
Name = Annotated[str, AfterValidator(_printable), AfterValidator(_brief)]
ModelName = Annotated[
    str,
    Field(pattern=r"^[^,]+$"),
    AfterValidator(_printable),
    AfterValidator(_brief),
    Remedy("use printable text without commas"),
]
Seconds = Annotated[
    float, Field(gt=0, le=LONGEST_S), Remedy(f"give a time in seconds above 0, at most {LONGEST_S}"), Unit("seconds")
]


@dataclass(frozen=True)
class Setting:
    """One setting as it is declared: a field of LoadSettings or of Benchmark."""

    name: str
    info: FieldInfo

    @property
    def default(self) -> object:
        return self.info.default

    @property
    def help(self) -> str:
        return self.info.description or ""

    @cached_property
    def _parts(self) -> tuple[object, ...]:
        """Everything that its type is made of: types, and what Annotated adds to them."""
        return (*self.info.metadata, *_parts(self.info.annotation))

    @property
    def kind(self) -> Kind:
        """Of its value, or of each of its values."""
        return next((kind for kind in (bool, int, float) if kind in self._parts), str)

    @property
    def is_list(self) -> bool:
        return tuple in self._parts and not self.is_mapping

    @property
    def is_mapping(self) -> bool:
        return dict in self._parts

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that may be given; empty where any value may."""
        return next((get_args(part) for part in self._parts if get_origin(part) is Literal), ())

    @property
    def flag(self) -> Flag:
        return next((part for part in self._parts if isinstance(part, Flag)), Flag())

    @property
    def unit(self) -> str | None:
        return next((part.name for part in self._parts if isinstance(part, Unit)), None)

    @property
    def form(self) -> Form | None:
        return next((part for part in self._parts if isinstance(part, Form)), None)

    @cached_property
    def type(self) -> TypeAdapter[object]:
        """Validates the type of a value, and not yet its bounds."""
        return TypeAdapter(cast("type[object]", self.info.annotation), config=ConfigDict(strict=True))

    def refusal(self, error: ErrorDetails, value: object) -> ConfigError:
        """The sentence for what pydantic found in the setting's value."""
        cause = error.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            return cause
        if sentence := self.wrong_type(error, value):
            return ConfigError(sentence)
        shown = value if error["type"] in _BOUNDS else error["input"]
        return refusal(self.name, shown, self._remedy(error))

    def wrong_type(self, error: ErrorDetails, value: object) -> str | None:
        """The sentence where pydantic found a value of another type; else None."""
        expected = _TYPES.get(error["type"])
        if self.form and self.form.is_secret and (expected or error["type"] in ("dict_type", "string_unicode")):
            return f"{self.name} must map keys to text; {self.form.example}"
        if self.form and error["type"] == "dict_type":
            return f"{self.name} is {short(value)}; {self.form.example}"
        return f"{self.name} is {short(error['input'])}; it takes {expected}" if expected else None

    def _remedy(self, error: ErrorDetails) -> str:
        """What to give instead of a value of the right type: as declared, or from its bounds."""
        context = error.get("ctx", {})
        if cause := context.get("error"):
            return str(cause)
        if error["type"] == "literal_error":
            return f"choose from {', '.join(self.choices)}"
        if own := next((part.text for part in self._parts if isinstance(part, Remedy)), None):
            return own
        bounds = {"greater_than_equal": "give {ge} or more", "less_than_equal": "give at most {le}"}
        return bounds.get(error["type"], _PRINTABLE).format(**context)


def settings_of(model: type[BaseModel]) -> dict[str, Setting]:
    """The settings that a model declares, by name."""
    return {name: Setting(name, info) for name, info in model.model_fields.items()}


def _parts(annotation: object) -> Iterator[object]:
    origin = get_origin(annotation)
    if origin in (Union, UnionType, Annotated, tuple, dict):
        yield origin
        for part in get_args(annotation):
            yield from _parts(part)
    elif annotation is not NoneType:
        yield annotation
