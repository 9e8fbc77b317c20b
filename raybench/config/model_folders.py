"""Models that a user names by a folder: `-m ./folder` or `-m NAME=./folder`."""

import os
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from raybench.config.refusal import ConfigError, require
from raybench.config.server_spec import ECHO
from raybench.config.setting import Form

_NAMED = re.compile(r"([^=/]+)=(.+)", re.DOTALL)
_VERSION = re.compile(r"[0-9]+", re.ASCII)
_ROOTS = (".", "..", "~")


def named_folders(models: Iterable[object], folders: dict[str, str]) -> tuple[object, ...]:
    """Model names for what a user wrote; each folder among them is added to `folders` under its name.

    A text with a slash is a folder, named by its last part, or by the part before a version number. Raises ConfigError
    where two folders would have the same name.
    """
    return tuple(_named(model, folders) if isinstance(model, str) else model for model in models)


def split_name(text: str) -> tuple[str | None, str]:
    """NAME and VALUE of `NAME=VALUE`; None and the text where it has no name. A name has no slash, as a path may."""
    given = _NAMED.fullmatch(text)
    return (given[1], given[2]) if given else (None, text)


def _named(text: str, folders: dict[str, str]) -> str:
    given, folder = split_name(text)
    if "/" not in folder and folder not in _ROOTS:
        return text
    folder = os.path.expanduser(folder)
    name = given or _name_of(folder)
    if folders.setdefault(name, folder) != folder:
        raise ConfigError(
            f"model is {text}; {folders[name]} would be called {name} too: give it a name with -m NAME={folder}"
        )
    return name


def _name_of(folder: str) -> str:
    path = os.path.abspath(folder)
    parent, last = os.path.split(path)
    return os.path.basename(parent) if _VERSION.fullmatch(last) else last


def _check_folders(folders: dict[str, str]) -> dict[str, str]:
    for name, folder in folders.items():
        require(bool(name) and "," not in name, "model", name, f"give it a name without commas: -m NAME={folder}")
        require(
            name != ECHO, "model", name, f"raybench has a model of that name: give yours another with -m NAME={folder}"
        )
        require(bool(folder), "saved_models", f"{name}: ''", "name the folder of a SavedModel")
    return folders


ModelFolders = Annotated[dict[str, str], AfterValidator(_check_folders), Form("write 'saved_models: {NAME: FOLDER}'")]
