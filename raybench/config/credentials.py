"""Headers for already running servers: how they may be given. The value of a header is never shown."""

import re
from collections.abc import Iterable
from string import Template
from typing import Annotated

from pydantic import AfterValidator

from raybench.config.refusal import ConfigError, is_text
from raybench.config.setting import Form

SYSTEM = "system"  # in place of a file: the authorities that a worker's host trusts
_EXAMPLE = "-H 'authorization=Bearer $TOKEN', in single quotes"
_KEY = re.compile(r"[0-9A-Za-z_.-]+")  # gRPC over HTTP/2 (PROTOCOL-HTTP2.md), Header-Name; there without capitals
_DROPPED = ("content-length", "content-type", "te", "user-agent")  # gRPC sends its own, or none, without a word
_SECRET_KEY = re.compile(r"auth|cookie|credential|jwt|key|pass|secret|session|token")
_SECRET_VALUE = re.compile(r"(apikey|basic|bearer|digest|token)\s", re.IGNORECASE)
_SCHEME_AND_VARIABLE = re.compile(r"([A-Za-z]+ )?\$([A-Za-z_]\w*|\{[A-Za-z_]\w*\})", re.ASCII)


def headers(texts: Iterable[str]) -> dict[str, str]:
    """Keys and values of flags such as `authorization=Bearer $TOKEN`; raises ConfigError without showing a value."""
    found: dict[str, str] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not value.strip("=") or not _KEY.fullmatch(key):
            raise ConfigError(f"header is not KEY=VALUE; write for example {_EXAMPLE}")
        if key in found:
            raise ConfigError(f"header {key} is given twice; give it once")
        found[key] = value
    return check_headers(found)


def check_headers(found: dict[str, str]) -> dict[str, str]:
    """Raise ConfigError for a key that gRPC would refuse, and for a secret that is not left in the environment."""
    for key, value in found.items():
        if not _KEY.fullmatch(key):
            raise ConfigError("header has a key that gRPC does not allow; use letters, digits, '.', '_' and '-'")
        if wrong := _wrong_key(key) or _wrong_value(key, value):
            raise ConfigError(f"header {key} {wrong}")
    return found


Headers = Annotated[
    dict[str, str],
    AfterValidator(check_headers),
    Form("write 'header: {authorization: Bearer $TOKEN}'", is_secret=True),
]


def _wrong_key(key: str) -> str | None:
    if key != key.lower():
        return f"has capitals, which gRPC does not allow; write {key.lower()}"
    if key.startswith("grpc-") or key in _DROPPED:
        return "is set by gRPC itself; leave it out"
    if key.endswith("-bin"):
        return "is binary because its name ends in -bin, which is not supported; use another name"
    return None


def _wrong_value(key: str, value: str) -> str | None:
    """A literal would be kept in the results, with the command; so a secret is one variable, after its scheme."""
    is_secret = _SECRET_KEY.search(key) or _SECRET_VALUE.match(value)
    if is_secret and not _SCHEME_AND_VARIABLE.fullmatch(value):
        return f"may be a secret, and the results folder would keep it; use an environment variable: {_EXAMPLE}"
    if not Template(value).is_valid():
        return "has a $ without the name of a variable; write $NAME or ${NAME}, and $$ for a dollar sign"
    if not (is_text(value) and value.isascii()):
        return "has a value that gRPC does not allow; use printable ASCII"
    return None
