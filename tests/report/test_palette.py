"""The colours of the charts, for every eye and both themes."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from raybench.report.html.palette import DARK, LIGHT, SERIES, STAGES, series

# Simulated dichromacy in linear RGB: Machado, Oliveira, Fernandes (2009), severity 1.
SEEN = {
    "as it is": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# From linear RGB to OKLab: Ottosson (2020).
TO_LMS = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
TO_LAB = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])


def linear(colour: str) -> np.ndarray:
    encoded = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio."""
    dark, light = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (one, other))
    return light / dark


def apart(one: str, other: str, eye: str) -> float:
    """How far apart two colours look; 0.02 can just be told, black and white are 1."""
    one_lab, other_lab = (
        TO_LAB @ np.cbrt(TO_LMS @ np.clip(np.array(SEEN[eye]) @ linear(colour), 0, 1)) for colour in (one, other)
    )
    return float(np.linalg.norm(one_lab - other_lab))


@THEMES
def test_everything_stands_out_from_the_page(theme: dict[str, str]) -> None:
    """Text has a contrast of 4.5 with the page, lines and bars of 3 (WCAG 2.1, 1.4.3 and 1.4.11)."""
    assert min(contrast(theme[name], theme["page"]) for name in ("ink", "muted", "bad")) >= 4.5
    assert min(contrast(theme[name], theme["page"]) for name in SERIES) >= 3


@THEMES
@pytest.mark.parametrize("eye", SEEN)
def test_servers_are_told_apart(theme: dict[str, str], eye: str) -> None:
    """The servers of a chart look different to everyone, even without their dashes."""
    assert min(apart(theme[one], theme[other], eye) for one, other in combinations(SERIES, 2)) > 0.08


@THEMES
@pytest.mark.parametrize("eye", SEEN)
def test_neighbours_in_a_stack_are_told_apart(theme: dict[str, str], eye: str) -> None:
    """Parts of a bar that touch look different to everyone."""
    assert min(apart(theme[a], theme[b], eye) for a, b in pairwise(STAGES)) > 0.06


def test_no_two_of_36_servers_look_alike() -> None:
    """Where colours come again, the dashes are others."""
    assert len({series(number) for number in range(36)}) == 36


def test_both_themes_have_every_colour() -> None:
    """What is drawn in one theme is there in the other."""
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)  # a colour in an SVG is its name's
