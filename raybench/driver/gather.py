"""Chunks of samples from streaming actors, as they come; a worker that is lost keeps what it had sent."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayActorError, RayError

_CHUNK_S = 30.0  # a worker yields every second, if only an empty chunk


@dataclass
class Gathered:
    """What came back: tables in order of arrival, and why a worker, by number, is missing."""

    tables: list[pa.Table] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)


def gather(
    streams: dict[Any, int], gathered: Gathered, on_chunk: Callable[[pa.Table], None], *, silence_s: float
) -> None:
    """Read every stream (generator -> worker number) to its end into `gathered`.

    A worker without a single reply, good or bad, for `silence_s` is lost: every request has a deadline below that.
    """
    heard = dict.fromkeys(streams, time.monotonic())
    while streams:
        ready, _ = ray.wait(list(streams), num_returns=1, timeout=1.0)
        for stream in ready:
            if _take(stream, streams, gathered, on_chunk):
                heard[stream] = time.monotonic()
        for stream in [s for s in streams if time.monotonic() - heard[s] > silence_s]:
            gathered.lost[streams.pop(stream)] = f"had no reply for {silence_s:.0f} s"


def _take(stream: Any, streams: dict[Any, int], gathered: Gathered, on_chunk: Callable[[pa.Table], None]) -> int:
    """Take one chunk off a stream; returns its number of rows."""
    try:
        chunk = ray.get(next(stream), timeout=_CHUNK_S)
    except StopIteration:
        streams.pop(stream)
    except RayActorError as error:
        gathered.lost[streams.pop(stream)] = f"its actor died: {str(error).splitlines()[0]}"
    except RayError as error:
        gathered.lost[streams.pop(stream)] = str(error).strip().splitlines()[-1]
    else:
        gathered.tables.append(chunk)
        on_chunk(chunk)
        return len(chunk)
    return 0
