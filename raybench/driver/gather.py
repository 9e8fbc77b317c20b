"""Chunks of samples from streaming actors, as they come; a worker that is lost keeps what it had sent."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError

from raybench.driver.heartbeat import Heartbeat
from raybench.driver.ray_errors import first_line, last_line
from raybench.results import samples

_TOGETHER = 100  # chunks: what Ray brings one in takes half as much again as its rows
_CHUNK_S = 30.0  # one that is there came with the news of it, or lies on a node that was there a moment ago


@dataclass
class Gathered:
    """What came back: tables in order of arrival, and why a worker, by number, is missing."""

    tables: list[pa.Table] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)
    _packed: int = 0  # of the tables: many chunks each

    def add(self, chunk: pa.Table) -> None:
        """Keep the rows of a chunk, and after a while no longer what they came in."""
        self.tables.append(chunk)
        if len(self.tables) - self._packed >= _TOGETHER:
            self.tables[self._packed :] = [samples.merge(self.tables[self._packed :]).combine_chunks()]
            self._packed += 1


@dataclass(frozen=True)
class Patience:
    """How long a worker may give no sign of life, or no reply, before it is lost; every request has a deadline."""

    heartbeat_s: float
    reply_s: float


def gather(
    actors: Sequence[Any],
    streams: dict[Any, int],
    gathered: Gathered,
    patience: Patience,
    *,
    on_chunk: Callable[[pa.Table], None],
    on_loss: Callable[[], None],
    on_turn: Callable[[], None] = lambda: None,
) -> None:
    """Read every stream (generator -> number of its actor) to its end into `gathered`.

    `on_turn` is called about once a second at least, whatever comes.
    """
    heartbeat = Heartbeat(actors, patience.heartbeat_s)
    replied_s = dict.fromkeys(streams, time.monotonic())
    while streams:
        on_turn()
        lost_before = len(gathered.lost)
        for stream in _ready(list(streams), heartbeat.turn_s):
            heartbeat.heard(streams[stream])
            if _take(stream, streams, gathered, on_chunk):
                replied_s[stream] = time.monotonic()
        silent = heartbeat.turn(streams.values())
        for stream, worker in list(streams.items()):
            if worker in silent:
                gathered.lost[streams.pop(stream)] = f"no sign of life for {patience.heartbeat_s:g} s"
            elif time.monotonic() - replied_s[stream] > patience.reply_s:
                gathered.lost[streams.pop(stream)] = f"no reply for {patience.reply_s:.0f} s"
        if len(gathered.lost) > lost_before:
            on_loss()


def _ready(streams: list[Any], timeout_s: float) -> list[Any]:
    """All streams that have something, as soon as one has: asked for one alone, Ray names the first time and again."""
    first, _ = ray.wait(streams, num_returns=1, timeout=timeout_s)
    return ray.wait(streams, num_returns=len(streams), timeout=0)[0] if first else []


def _take(stream: Any, streams: dict[Any, int], gathered: Gathered, on_chunk: Callable[[pa.Table], None]) -> int:
    """Take one chunk from a stream; returns its number of rows."""
    try:
        chunk = ray.get(next(stream), timeout=_CHUNK_S)
    except StopIteration:
        streams.pop(stream)
    except ActorUnavailableError:
        gathered.lost[streams.pop(stream)] = "its actor, its node or the network failed"
    except RayActorError as error:
        gathered.lost[streams.pop(stream)] = f"its actor died: {first_line(error)}"
    except RayError as error:
        gathered.lost[streams.pop(stream)] = last_line(error)
    else:
        gathered.add(chunk)
        on_chunk(chunk)
        return len(chunk)
    return 0
