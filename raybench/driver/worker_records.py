"""What is known of a trial's workers when it has ended, those that were lost included."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from raybench.driver.start_barrier import Clock, clock_facts, measure_clock
from raybench.driver.worker_actor import Place
from raybench.worker.load_worker import Payloads

_TIMEOUT_S = 5.0


def worker_facts(
    actors: Sequence[Any],
    *,
    places: Sequence[Place],
    before: Sequence[dict[str, Any]],
    clocks: Sequence[Clock],
    payloads: Sequence[Payloads],
    lost: Mapping[int, str],
) -> list[dict[str, Any]]:
    """A record of each worker: what those that are left say now, beside what all had said at the gate."""
    left = {number: actor for number, actor in enumerate(actors) if number not in lost}
    ends, sent = told(left, "facts", _TIMEOUT_S), told(left, "payloads", _TIMEOUT_S)
    clocks_then = {number: clock for number in ends if (clock := _clock(actors[number]))}
    return [
        {
            **ends.get(number, start),
            "node_id": places[number].node_id,
            "cpu_s": ends[number]["cpu_s"] - start["cpu_s"] if number in ends else None,
            **clock_facts(clocks[number], clocks_then.get(number)),
            "lost": lost.get(number),
            **_payload_facts(sent.get(number, payloads[number])),
        }
        for number, start in enumerate(before)
    ]


def told(actors: Mapping[int, Any], method: str, timeout_s: float) -> dict[int, Any]:
    """What those workers answer to a method that do so in time, all asked at once."""
    asked = {getattr(actor, method).remote(): number for number, actor in actors.items()}
    answers = {}
    for answer in ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)[0] if asked else []:
        with suppress(RayError):
            answers[asked[answer]] = ray.get(answer, timeout=timeout_s)
    return answers


def _clock(actor: Any) -> Clock | None:
    try:
        return measure_clock(actor)
    except RayError:
        return None


def _payload_facts(payloads: Payloads) -> dict[str, Any]:
    return {
        "payload_requests": payloads.requests,
        "payload_request_bytes": payloads.request_bytes,
        "payload_held_mib": payloads.held_mib,
        "payload_image_hashes": payloads.image_hashes,
    }
