"""Chunks of samples from streaming actors, as they come; a worker that is lost keeps what it had sent."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayActorError, RayError

_SILENCE_S = 30.0  # a worker yields every second even when no reply came in


@dataclass
class Gathered:
    """What came back: tables in order of arrival, and why a worker, by number, is missing."""

    tables: list[pa.Table] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)


def gather(streams: dict[Any, int], gathered: Gathered, on_chunk: Callable[[pa.Table], None]) -> None:
    """Read every stream (generator -> worker number) to its end into `gathered`."""
    heard = dict.fromkeys(streams, time.monotonic())
    while streams:
        ready, _ = ray.wait(list(streams), num_returns=1, timeout=1.0)
        for stream in ready:
            heard[stream] = time.monotonic()
            _take(stream, streams, gathered, on_chunk)
        for stream in [s for s in streams if time.monotonic() - heard[s] > _SILENCE_S]:
            gathered.lost[streams.pop(stream)] = f"said nothing for {_SILENCE_S:.0f} s"


def _take(stream: Any, streams: dict[Any, int], gathered: Gathered, on_chunk: Callable[[pa.Table], None]) -> None:
    try:
        chunk = ray.get(next(stream), timeout=_SILENCE_S)
    except StopIteration:
        streams.pop(stream)
    except RayActorError as error:
        gathered.lost[streams.pop(stream)] = f"its actor died: {str(error).splitlines()[0]}"
    except RayError as error:
        gathered.lost[streams.pop(stream)] = str(error).strip().splitlines()[-1]
    else:
        gathered.tables.append(chunk)
        on_chunk(chunk)
