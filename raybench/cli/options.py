"""The flags of a benchmark, made from its settings."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import click

from raybench.cli.completion import complete_model
from raybench.config import SETTINGS, ConfigError, credentials, input_values
from raybench.config.server_settings import KNOBS
from raybench.config.setting import Setting

NOTHING: Mapping[str, str] = MappingProxyType({})
Command = Callable[..., Any]  # as click decorates it
Flags = dict[str, Any]  # by name, as click hands them to a command


def benchmark_flags(
    command: Command,
    listed: Collection[str] = (),
    hidden: Collection[str] = (),
    without: Collection[str] = (),
    shown: Mapping[str, str] = NOTHING,
) -> Command:
    """The flags of a benchmark; None where one is not given, so that the YAML's value stands.

    Of the numbers in `listed` a search takes several, as text; what is `hidden` it refuses, and its help leaves out.
    The command itself declares those in `without`, if at all; `shown` has the defaults that differ in it, in words.
    """
    taken = [each for each in SETTINGS.values() if not each.flag.is_absent and each.name not in without]
    for setting in reversed(taken):
        is_listed, is_hidden = setting.name in listed, setting.name in hidden
        words = shown.get(setting.name)
        command = _option(setting, is_listed=is_listed, is_hidden=is_hidden, shown=words)(command)
    return command


def chosen_flags(*names: str, shown: Mapping[str, str]) -> Callable[[Command], Command]:
    """A decorator: the flags of some settings alone; `shown` has the defaults that differ in this command, in words."""

    def decorated(command: Command) -> Command:
        for name in reversed(names):
            command = _option(SETTINGS[name], is_listed=False, is_hidden=False, shown=shown.get(name))(command)
        return command

    return decorated


def _option(
    setting: Setting, *, is_listed: bool, is_hidden: bool, shown: str | None = None
) -> Callable[[Command], Command]:
    short = (setting.flag.short,) if setting.flag.short else ()
    word = setting.name.replace("_", "-")
    if setting.kind is bool:
        on_or_off = f"--{word}" if setting.default is False else f"--{word}/--no-{word}"
        return click.option(*short, on_or_off, is_flag=True, default=None, help=_help(setting, shown), hidden=is_hidden)
    return click.option(
        *short,
        f"--{word}",
        multiple=_is_repeatable(setting),
        type=_type(setting, is_listed=is_listed),
        metavar=_metavar(setting),
        help=_help(setting, shown),
        hidden=is_hidden,
        shell_complete=complete_model if setting.name == "model" else None,
    )


def _type(setting: Setting, *, is_listed: bool) -> click.ParamType | type[str] | type[int] | type[float]:
    if setting.flag.is_menu:
        return click.Choice(setting.choices)
    return str if is_listed or setting.is_list or setting.is_mapping else setting.kind


def _metavar(setting: Setting) -> str | None:
    """What stands for the value in the help; None: click names the type."""
    if setting.choices:
        return f"[{'|'.join(setting.choices)}]"
    return setting.unit.upper() if setting.unit else None


def _is_repeatable(setting: Setting) -> bool:
    """Texts are given one by one; numbers as a list such as 1,2."""
    return setting.is_mapping or (setting.is_list and setting.kind is str)


def _help(setting: Setting, shown: str | None) -> str:
    meaning = f"{setting.help.removesuffix('.')}; repeatable." if _is_repeatable(setting) else setting.help
    shown = shown or setting.flag.shown or _default(setting)
    return f"{meaning}  [{shown}]" if shown else meaning


def _default(setting: Setting) -> str | None:
    """The default in words; None where there is nothing to say."""
    if setting.default is None or setting.default is False or setting.default in ((), {}):
        return None
    if setting.default is True:
        return "on"
    if isinstance(setting.default, tuple):
        return ", ".join(map(str, setting.default))
    return f"{setting.default:g}" if isinstance(setting.default, float) else str(setting.default)


def parse(flags: Flags) -> Flags:
    """Flags whose text holds several values, as values."""
    parsed = dict(flags)
    for name in ("instances", *(knob.name for knob in KNOBS), "request_rate"):
        parsed[name] = _numbers(name, flags.get(name))
    parsed["layout"] = tuple(part for text in flags.get("layout") or () for part in text.split(","))
    pairs = [text.partition("=") for text in flags["url"]]
    if wrong := [kind for kind, equals, url in pairs if not (equals and url)]:
        raise ConfigError(f"url is {wrong[0]}; write KIND=HOST:PORT")
    parsed["url"] = {kind: url for kind, _, url in pairs}
    if len(parsed["url"]) < len(pairs):
        raise ConfigError(
            f"url is {', '.join(flags['url'])}; name each kind once, several servers of it as KIND=HOST:PORT,HOST:PORT"
        )
    parsed["header"] = credentials.headers(flags["header"])
    parsed["shape"], parsed["range"] = input_values.shapes(flags["shape"]), input_values.ranges(flags["range"])
    return parsed


def _numbers(name: str, text: str | None) -> tuple[bool | int | float | str, ...] | None:
    """The numbers of a flag such as 1,2; None where it is not given."""
    if text is None:
        return None
    try:
        return tuple(SETTINGS[name].kind(number) for number in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{name.replace('_', '-')} is {text}; give numbers such as 1,2") from error
