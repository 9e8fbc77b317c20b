"""The commands of the README and of the pages in docs/, and what it takes to run them as they stand."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from helpers import IMAGES, LOGITS, observed, results, saved_model

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "tests" / "benchmarks" / "README.md")
}  # by their path in the repository
_YAML = "workers: 2\nserver: [local, triton]\nbatch-size: 1\nrequest-count: 20\n"


@dataclass(frozen=True)
class Line:
    """One command of a `sh` block; a trailing `&` is the reader's second terminal."""

    words: tuple[str, ...]
    page: str = "README.md"

    def __str__(self) -> str:
        return shlex.join(self.words)


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.M | re.S)


def lines(*pages: str) -> list[Line]:
    """Every command of the `sh` blocks of some pages, or of all, each once; continued lines as one."""
    found: dict[tuple[str, ...], Line] = {}
    for page in pages or PAGES:
        text = "\n".join(text for language, text in blocks(PAGES[page]) if language == "sh")
        split = (shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines())
        for words in (words[:-1] if words[-1] == "&" else words for words in split if words):
            found.setdefault(tuple(words), Line(tuple(words), page))
    return list(found.values())


def prepare(folder: Path, line: Line) -> None:
    """Put into a folder what a command names: a YAML, results folders, a SavedModel, files of inputs."""
    for word in line.words:
        if word == "./photos" or word.endswith(".parquet"):
            continue
        if word.startswith("./"):
            saved_model(folder / word, ("serving_default", [IMAGES], [LOGITS]))
        if word.endswith(".yaml") and line.words[1] != "init":
            _made(folder / word).write_text(_YAML, encoding="utf-8")
        if word.startswith("results/"):
            results(folder, observed(label="local"), observed()).rename(_made(folder / word))


def _made(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return path
