"""README and docs in plain English: no phrase that readers stumbled over."""

import re

import pytest
from prose import found, prose_of
from readme import PAGES

# A table that tests/faults/end_each_process.py made: what raybench said on the day of the experiment.
_RECORDED = re.compile(r"^\| phase \|.*?(?=^$)", re.M | re.S)


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_plain_english(page: str) -> None:
    """No page has a phrase that needs a second reading."""
    assert found(prose_of(_RECORDED.sub("", PAGES[page]))) == []


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("The driver is told anew.", ["told", "anew"]),
        ("It is off, for there it gains little.", [", for there"]),
        ("They are empty, for requests are encoded before.", [", for requests are"]),
        ("Models, for servers that are old, fit.", []),
        ("one process for all of them", []),
        ("what the model has, in the process\nof others", ["what the model has", "of others"]),
    ],
)
def test_phrases_are_found_across_lines(text: str, phrases: list[str]) -> None:
    """The list finds what it is for, also where a line breaks, and leaves plain English alone."""
    assert found(text) == phrases


def test_code_is_no_prose() -> None:
    """Code blocks, code words and link targets are not read as sentences."""
    assert found(prose_of("`told` [a](anew.md)\n\n```\nof ours\n```\n")) == []
