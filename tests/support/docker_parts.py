"""What docker/ says: versions, Dockerfiles, and compose.yaml as docker compose would read it, without an engine."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
# ${NAME}, ${NAME:?} and ${NAME:-default}, the innermost first
_VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^{}]*))?\}")


def versions() -> dict[str, str]:
    lines = (DOCKER / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def variables(text: str) -> set[str]:
    """The names in a compose text that have no default."""
    return {name for name, kind, _ in _VARIABLE.findall(text) if kind != "-"}


def interpolated(text: str, values: dict[str, str]) -> str:
    """A compose text with its variables filled in; raises KeyError for one without value and default."""
    while match := _VARIABLE.search(text):
        name, kind, default = match.groups()
        value = values.get(name) or (default if kind == "-" else values[name])
        text = text[: match.start()] + value + text[match.end() :]
    return text


@cache
def services() -> dict[str, Any]:
    """compose.yaml's services by name, variables filled in from .env and merges resolved."""
    text = interpolated((DOCKER / "compose.yaml").read_text(), {**versions(), "HOME": "/home/someone"})
    return dict(yaml.safe_load(text)["services"])


def instructions(dockerfile: Path, name: str) -> list[str]:
    """The arguments of every instruction of that name, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.M).replace("\\\n", " ")
    return [line.split(None, 1)[1] for line in text.splitlines() if line.split(None, 1)[:1] == [name]]


def copies(dockerfile: Path) -> list[tuple[str, str]]:
    """(source, target) of what a Dockerfile copies from the repository."""
    found = [words.split() for words in instructions(dockerfile, "COPY")]
    return [(source, words[-1]) for words in found if not words[0].startswith("--from") for source in words[:-1]]


def pins(lock: Path) -> dict[str, str]:
    """Version by package; raises AssertionError for a requirement that is not pinned by version and hash."""
    text = lock.read_text()
    found = re.findall(r"^([a-z0-9][\w.-]*)==([^ ]+) (?:;.*)?\\\n    --hash=sha256:", text, re.M)
    assert len(found) == len(re.findall(r"^[a-z0-9]", text, re.M)) > 0, f"{lock.name}: not all pinned with hashes"
    return dict(found)
