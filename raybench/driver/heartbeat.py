"""Signs of life: a worker that sends nothing is asked for its clock, past whatever else it does."""

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

_LONGEST_TURN_S = 1.0


class Heartbeat:
    """Watches workers, by number; one without a sign for `timeout_s` is lost, as on a node that is cut off.

    Ray itself notices at once where a process ends, and where a node falls silent after some health checks.
    """

    def __init__(self, actors: Sequence[Any], timeout_s: float) -> None:
        self._actors, self._timeout_s = actors, timeout_s
        self._silent_s = [0.0] * len(actors)
        self._asked: dict[Any, int] = {}
        self._turned_s = time.monotonic()

    @property
    def turn_s(self) -> float:
        """How long to wait between two turns at most."""
        return min(_LONGEST_TURN_S, self._timeout_s / 4)

    def heard(self, worker: int) -> None:
        self._silent_s[worker] = 0.0

    def turn(self, workers: Collection[int]) -> list[int]:
        """Take answers, ask those of the workers that are silent, and return those that are so for too long.

        However long this turn took, it counts as one: a driver that was suspended could not hear any worker.
        """
        passed_s = min(time.monotonic() - self._turned_s, _LONGEST_TURN_S)
        self._turned_s = time.monotonic()
        self._take_answers()
        asked = set(self._asked.values())
        for worker in workers:
            self._silent_s[worker] += passed_s
            if self._silent_s[worker] > self._timeout_s / 2 and worker not in asked:
                self._asked[self._actors[worker].clock_ns.remote()] = worker
        return [worker for worker in workers if self._silent_s[worker] > self._timeout_s]

    def _take_answers(self) -> None:
        answered = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)[0] if self._asked else []
        for answer in answered:
            worker = self._asked.pop(answer)
            with suppress(RayError):  # of one that died its stream says why
                ray.get(answer)
                self.heard(worker)
