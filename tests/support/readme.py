"""The README's commands, and what it takes to run them as they stand."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from helpers import IMAGES, LOGITS, observed, results, saved_model

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", README, re.M | re.S)  # language and text
_YAML = "workers: 2\nserver: fake\nbatch-size: 1\nrequest-count: 20\n"


@dataclass(frozen=True)
class Line:
    """One command of a `sh` block; a trailing `&` is the reader's second terminal."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


def lines() -> list[Line]:
    """Every command of the README's `sh` blocks, continued lines as one."""
    text = "\n".join(text for language, text in BLOCKS if language == "sh")
    split = (shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines())
    return [Line(tuple(words[:-1] if words[-1] == "&" else words)) for words in split if words]


def prepare(folder: Path, line: Line) -> None:
    """Put into a folder what a command names: a YAML, results folders, a SavedModel."""
    for word in line.words:
        if word.startswith("./"):
            saved_model(folder / word, ("serving_default", [IMAGES], [LOGITS]))
        if word.endswith(".yaml"):
            (folder / word).write_text(_YAML)
        if word.startswith("results/"):
            results(folder, observed(label="local"), observed()).rename(_made(folder / word))


def _made(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return path
