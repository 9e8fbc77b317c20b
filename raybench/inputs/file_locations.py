"""Where input files are: paths of this host, and URIs of the file systems that pyarrow and fsspec know."""

import os
import re
from contextlib import suppress
from typing import Any

from pyarrow import fs

from raybench.config import ConfigError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST = 200


class InputFileError(ConfigError):
    """A file or folder that cannot be sent: one sentence that begins with `input is`."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"input is {source}; {why}")
        self._parts = (source, why)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """A task of Ray's raises it too: it has to travel."""
        return type(self), self._parts


def is_uri(source: str) -> bool:
    return _SCHEME.match(source) is not None


def absolute(source: str) -> str:
    """A path as workers on this host find it; a URI as it is."""
    return source if is_uri(source) else os.path.abspath(os.path.expanduser(source))


def files_below(source: str) -> list[str]:
    """The file itself, or all files below a folder, sorted; hidden ones and markers of other tools left out.

    Raises InputFileError where it is not there, or cannot be read.
    """
    try:
        system, path = _located(source)
        about = system.get_file_info(path)
        if about.type == fs.FileType.NotFound:
            raise InputFileError(source, "it does not exist: name photos, noise, random, zero, a file or a folder")
        if about.type == fs.FileType.File:
            return [source]
        below = system.get_file_info(fs.FileSelector(path, recursive=True))
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise unreadable(source, error) from error
    found = sorted(each.path for each in below if each.is_file and _is_visible(each.path[len(path) :]))
    if not is_uri(source) or source.startswith("file:"):
        return found
    scheme, options = source.partition("://")[0], "".join(source.partition("?")[1:])  # such as where the bucket is
    return [f"{scheme}://{each}{options}" for each in found]


def read_bytes(source: str) -> bytes:
    """All of a file; raises InputFileError."""
    try:
        with opened(source) as stream:
            return bytes(stream.read())
    except (OSError, ValueError) as error:
        raise unreadable(source, error) from error


def opened(source: str) -> Any:
    """A stream of a file's bytes, unpacked where its name ends in such as .gz."""
    system, path = _located(source)
    return system.open_input_stream(path)


def random_access(source: str) -> Any:
    system, path = _located(source)
    return system.open_input_file(path)


def _located(source: str) -> tuple[Any, str]:
    if not is_uri(source):
        return fs.LocalFileSystem(), absolute(source)
    with suppress(ValueError):
        return fs.FileSystem.from_uri(source)
    from fsspec.core import url_to_fs  # what pyarrow does not know; Ray Data brings it

    system, path = url_to_fs(source)
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path


def _is_visible(path: str) -> bool:
    return not any(part.startswith((".", "_")) for part in path.split("/") if part)


def unreadable(source: str, error: Exception, what: str = "it") -> InputFileError:
    """The error of a source that an error kept from being read, or a file of it."""
    if isinstance(error, InputFileError):
        return error
    said = " ".join(str(error).split())[:_LONGEST]
    return InputFileError(source, f"{what} cannot be read ({said}): correct it, or give this host access to it")
