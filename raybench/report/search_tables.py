"""What a search found, in words and as a curve: a row for every point that was tried."""

from raybench.analysis.search.strategy import Found, Point

WORDS = {
    "workers": "workers",
    "concurrency": "lanes a worker",
    "batch_size": "images a request",
    "request_rate": "requests/s",
}
_DASH = "–"


def title(found: Found) -> str:
    what = f"{found.threshold} by {WORDS[found.variable]}" if found.threshold else f"memory by {WORDS[found.variable]}"
    return f"{found.server}, {found.model}: {what}"


def headline(found: Found) -> str:
    """The answer in one sentence, with what broke it."""
    held, broke, why = found.feasible_max, found.first_breach, f": {found.reason}" if found.reason else ""
    goodput = f" (goodput {found.goodput_rps:.4g} requests/s)" if found.goodput_rps else ""
    word = WORDS[found.variable]
    promise = f"{found.threshold} holds" if found.threshold else "memory holds"
    start = f"{found.server}, {found.model}: "
    if not found.is_over:
        so_far = f"{promise} at {held:g} {word}{goodput}" if held else "nothing has held yet"
        return f"{start}the search ended before its answer; {so_far}{why}"
    if held is None:
        return f"{start}not even {broke:g} {word} held{why}"
    if broke is None:
        return f"{start}{promise} up to {held:g} {word}{goodput}, the most that was asked for"
    return f"{start}{promise} up to {held:g} {word}{goodput}, and not at {broke:g}{why}"


def columns(found: Found) -> tuple[str, ...]:
    latency = (f"{found.threshold.partition('<')[0]} ms", "goodput/s") if found.threshold else ()
    return (WORDS[found.variable], "round", "requests", "failed", *latency, "images/s", "verdict")


def rows(found: Found) -> list[tuple[str, ...]]:
    """The points in order of their value, as far as words go."""
    ordered = sorted(found.points, key=lambda point: (point.value, point.round))
    return [_row(point, found) for point in ordered]


def _row(point: Point, found: Found) -> tuple[str, ...]:
    latency = (_number(point.latency_ms), _number(point.goodput_rps)) if found.threshold else ()
    counts = (f"{point.value:g}", str(point.round), str(point.requests), str(point.failed))
    return (*counts, *latency, _number(point.images_per_s), point.verdict)


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.4g}"
