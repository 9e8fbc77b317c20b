"""The values of the knobs that `tune` tries on a host where the user names none."""

from collections.abc import Mapping
from dataclasses import dataclass

from raybench.config.server_settings import KNOBS
from raybench.config.server_spec import MULTI, PER_MODEL

_MOST_INSTANCES = 4
_DELAY = 1000  # microseconds
_TRITON_MERGES = 64  # what its backend merges by itself


@dataclass(frozen=True)
class Host:
    """What limits the knobs: cores that TensorFlow may use, and whether it has a GPU."""

    cores: int
    has_gpu: bool


def knob_values(
    kinds: tuple[str, ...], host: Host, *, batch_size: int, in_flight: int
) -> Mapping[str, tuple[int | str, ...]]:
    """By the name of its setting, the legal values of each knob that one of these kinds of servers has.

    The first of each is the default, which a configuration is compared with.
    """
    together = batch_size * in_flight
    is_triton_own = together == _TRITON_MERGES and "tfserving" not in kinds
    merges = (0, 1) if together == 1 or is_triton_own else (0, 1, together)
    most = _MOST_INSTANCES if host.has_gpu else min(_MOST_INSTANCES, host.cores)
    threads = _falling(host.cores) if not host.has_gpu else (0,)
    found: dict[str, tuple[int | str, ...]] = {
        "merge_max": merges,
        "merge_delay": (0, _DELAY),
        "merge_threads": (0, 1),
        "intra_op_threads": threads,
        "inter_op_threads": (0, 1),
        "pipeline_depth": (0, 1) if host.has_gpu else (0,),
    }
    there = {knob.name for knob in KNOBS if set(knob.kinds) & set(kinds)}
    chosen = {name: values for name, values in found.items() if name in there}
    if "triton" in kinds:
        counts = [1]
        while counts[-1] * 2 <= most:
            counts.append(counts[-1] * 2)
        chosen |= {"instances": tuple(counts), "layout": (MULTI, PER_MODEL)}
    return chosen


def _falling(cores: int) -> tuple[int, ...]:
    """TensorFlow's own choice, which is all cores; half of them, and one."""
    return tuple(dict.fromkeys((0, *([cores // 2] if cores > 2 else []), *([1] if cores > 1 else []))))
