"""Results folders damaged at random; `python tests/faults/damaged_folders.py` tries 500 of them."""

from pathlib import Path

import pytest
from damaged_folders import Whole, tried, whole

CASES = 8


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> list[Whole]:
    """A run, a search, and a run without checksums."""
    return [whole(tmp_path_factory.mktemp(kind.replace(" ", "-")), kind) for kind in ("run", "search", "unsealed")]


def test_damage_is_named_and_changes_no_number(known: list[Whole], tmp_path: Path) -> None:
    """Whatever becomes of a folder's files, no command ends in a traceback, and a number is as it was, or is gone and
    its file is named."""
    verdicts = [tried(known[seed % len(known)], tmp_path, seed) for seed in range(CASES)]
    assert [(seed, each.harm, each.wrong) for seed, each in enumerate(verdicts) if each.wrong] == []
    assert {each.code for each in verdicts} >= {0, 1}
