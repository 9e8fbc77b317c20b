"""The knobs of servers: combined, named in labels, and refused where no server has them."""

from dataclasses import fields

import pytest

from raybench import config
from raybench.config import ConfigError
from raybench.config.server_settings import KNOBS, ServerSettings, settings_of


def test_every_combination_is_a_server_of_its_own() -> None:
    """Several values of knobs are servers in all combinations, named by what is not the server's own choice."""
    found = config.load(None, {"server": ("triton", "local"), "merge_max": (0, 1), "intra_op_threads": (0, 2)})
    assert [server.label for server in found.servers] == [
        "triton x1",
        "triton x1 intra=2",
        "triton x1 merge=1",
        "triton x1 merge=1 intra=2",
        "local",
        "local intra=2",
    ]


def test_what_has_no_effect_is_no_server_of_its_own() -> None:
    """A server that merges nothing does not wait for more: both values of the delay are the same server."""
    values = {"merge_max": (0, 1, 16), "merge_delay": (0, 500), "merge_threads": (0, 2)}
    triton = [each.label for each in settings_of("triton", values)]
    assert triton == ["", "delay=500", "merge=1", "merge=16", "merge=16 delay=500"]
    serving = [each.label for each in settings_of("tfserving", values)]
    assert serving[:2] == ["", "merge=16"]
    assert len(serving) == 5


def test_every_setting_is_a_knob() -> None:
    """A setting that were no knob would be in no label, no flag and no tuning."""
    assert [knob.name for knob in KNOBS] == [each.name for each in fields(ServerSettings)]


@pytest.mark.parametrize("knob", [knob.name for knob in KNOBS])
def test_a_knob_that_no_server_has_is_refused(knob: str) -> None:
    """A setting that nothing would obey is refused: its number would be of another configuration."""
    with pytest.raises(ConfigError, match=f"{knob.replace('_', '-')} is"):
        config.load(None, {"server": ("triton",), "url": {"triton": "127.0.0.1:8001"}, knob: (2,)})


@pytest.mark.parametrize(
    ("server", "values"),
    [
        (("triton",), {"merge_max": (1,), "merge_delay": (0, 500)}),
        (("tfserving",), {"merge_delay": (500,)}),
        (("tfserving",), {"merge_max": (1,), "merge_threads": (2,)}),
        (("triton", "tfserving"), {"merge_threads": (2,)}),
    ],
)
def test_a_knob_without_effect_is_refused(server: tuple[str, ...], values: dict[str, tuple[int, ...]]) -> None:
    """How to merge is refused where nothing merges: a run would show the setting, and measure without it."""
    with pytest.raises(ConfigError, match="no server here merges requests"):
        config.load(None, {"server": server, **values})


@pytest.mark.parametrize(
    ("server", "values"),
    [
        (("triton",), {"merge_delay": (500,)}),
        (("triton",), {"merge_max": (1, 8), "merge_delay": (0, 500)}),
        (("triton", "tfserving"), {"merge_delay": (500,)}),
    ],
)
def test_a_knob_that_one_server_obeys_is_taken(server: tuple[str, ...], values: dict[str, tuple[int, ...]]) -> None:
    """How to merge is taken where one server of the run merges."""
    assert any(each.settings.merge_delay == 500 for each in config.load(None, {"server": server, **values}).servers)


def test_threads_reach_tensorflow_by_its_environment() -> None:
    """0 leaves a variable alone, so that the user's own environment stands."""
    assert ServerSettings(intra_op_threads=3).environment == {"TF_NUM_INTRAOP_THREADS": "3"}
    assert ServerSettings().environment == {}
