"""A hook of mkdocs: the README as the first page, and links out of docs/ that work on GitHub and in the site.

A page links to other files of the repository as GitHub needs it, such as `../examples/seed.yaml`. In the site the same
link leads to the page that the file became, or to a copy of the file.
"""

import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"README.md": "index.md", "tests/benchmarks/README.md": "benchmarks.md"}  # pages that are not in docs/
_LINK = re.compile(r"(\]\(|src=\")([^)\s\"]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and the files of the repository that are not in docs/."""
    for path, name in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / path).read_text(encoding="utf-8")))
    for file in list(files.documentation_pages()):
        for path in _linked(file.content_string, _in_repository(file.src_uri)):
            if not files.get_file_from_path(_in_site(path)):
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between files of the site."""
    origin = _in_repository(page.file.src_uri)
    return _LINK.sub(lambda found: found[1] + _moved(found[2], origin), markdown)


def _in_repository(name: str) -> str:
    """Where a page of the site is in the repository."""
    return next((path for path, page in ELSEWHERE.items() if page == name), f"docs/{name}")


def _in_site(path: str) -> str:
    """Where a file of the repository is in the site."""
    return ELSEWHERE.get(path, path.removeprefix("docs/"))


def _linked(markdown: str, origin: str) -> set[str]:
    """The files of the repository that a page links to."""
    found = {_target(link, origin) for _, link in _LINK.findall(markdown)}
    return {path for path in found if path and (ROOT / path).is_file()}


def _target(link: str, origin: str) -> str | None:
    """The file of the repository that a link names; None for an address or a heading of the same page."""
    parts = urlsplit(link)
    if parts.scheme or not parts.path:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), parts.path))


def _moved(link: str, origin: str) -> str:
    path = _target(link, origin)
    fragment = urlsplit(link).fragment
    return link if path is None else _in_site(path) + (f"#{fragment}" if fragment else "")
