"""The knobs of a server that raybench starts: declared once for ServerSpec, the flags, the labels and `tune`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from raybench.config.refusal import refusal


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What raybench may choose of a server beyond its layout and instances; 0 is the server's own choice.

    `merge_max` is in items (1 merges nothing), `merge_delay` in microseconds.
    """

    merge_max: int = 0
    merge_delay: int = 0
    merge_threads: int = 0
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    pipeline_depth: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What TensorFlow reads its threads from (tensorflow/core/common_runtime: process_util.cc, local_device.cc)."""
        threads = {"TF_NUM_INTRAOP_THREADS": self.intra_op_threads, "TF_NUM_INTEROP_THREADS": self.inter_op_threads}
        return {name: str(count) for name, count in threads.items() if count}

    @property
    def label(self) -> str:
        """Such as "merge=16 intra=1"; empty where everything is the server's own choice."""
        chosen = ((knob.label, getattr(self, knob.name)) for knob in KNOBS)
        return " ".join(f"{label}={value}" for label, value in chosen if value)


@dataclass(frozen=True)
class Knob:
    """A setting by its name: how labels show it, and the kinds of servers that have it."""

    name: str
    label: str
    kinds: tuple[str, ...]


KNOBS = (
    Knob("merge_max", "merge", ("triton", "tfserving")),
    Knob("merge_delay", "delay", ("triton", "tfserving")),
    Knob("merge_threads", "mergers", ("tfserving",)),
    Knob("intra_op_threads", "intra", ("triton", "tfserving", "local")),
    Knob("inter_op_threads", "inter", ("triton", "tfserving", "local")),
    Knob("pipeline_depth", "pipeline", ("triton",)),
)
OWN_CHOICE = ServerSettings()
_OF_MERGING = ("merge_delay", "merge_threads")


def settings_of(kind: str, values: Mapping[str, tuple[int, ...]]) -> Iterator[ServerSettings]:
    """Every combination of the values of the knobs that a kind of server has, each that differs once."""
    found = [OWN_CHOICE]
    for knob in KNOBS:
        asked = values.get(knob.name, (0,)) if kind in knob.kinds else (0,)
        found = [replace(each, **{knob.name: value}) for each in found for value in asked]
    yield from dict.fromkeys(_effective(kind, each) for each in found)


def without_effect(kinds: Iterable[str], values: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The knobs of merging that are set where, of these kinds, no server with any of the values merges requests."""
    found = [each for kind in kinds for each in settings_of(kind, values)]
    asked = (name for name in _OF_MERGING if any(values.get(name, ())))
    return tuple(name for name in asked if not any(getattr(each, name) for each in found))


def check_merging(kinds: Iterable[str], values: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ConfigError for a knob of merging that no server of these kinds would obey."""
    for name in without_effect(kinds, values):
        raise refusal(name, values[name], "no server here merges requests: set merge-max to 2 or more, or leave it out")


def _effective(kind: str, asked: ServerSettings) -> ServerSettings:
    """Without what has no effect: a server that merges nothing does not wait, and needs no threads to merge."""
    merges = asked.merge_max > 1 or (kind == "triton" and asked.merge_max == 0)
    if kind == "tfserving" and asked.merge_max == 1:
        asked = replace(asked, merge_max=0)
    return asked if merges else replace(asked, merge_delay=0, merge_threads=0)
