"""What a search found, in words and as a curve: a row for every point that was tried."""

from raybench.analysis import units
from raybench.analysis.plain_numbers import plain
from raybench.analysis.search.strategy import SearchPoint, SearchResult

_WORDS = {
    "workers": "workers",
    "concurrency": "lanes per worker",
    "request_rate": "requests/s",
}
_DASH = "–"


def word(found: SearchResult) -> str:
    """What was varied."""
    return _WORDS.get(found.variable) or f"{units.items(found.unit)} per request"


def title(found: SearchResult) -> str:
    what = f"{found.threshold} by {word(found)}" if found.threshold else f"memory by {word(found)}"
    return f"{found.server}, {found.model}: {what}"


def headline(found: SearchResult) -> str:
    """The answer in one sentence, with what broke it."""
    held, broke, why = found.feasible_max, found.first_breach, f": {found.reason}" if found.reason else ""
    goodput = f" (goodput {plain(found.goodput_rps, 4)} requests/s)" if found.goodput_rps else ""
    varied = word(found)
    promise = f"{found.threshold} holds" if found.threshold else "memory holds"
    start = f"{found.server}, {found.model}: "
    if not found.is_over:
        so_far = f"{promise} at {held:g} {varied}{goodput}" if held else "no load has held yet"
        return f"{start}the search ended before its answer; {so_far}{why}"
    if held is None:
        return f"{start}not even {broke:g} {varied} held{why}"
    if broke is None:
        return f"{start}{promise} up to {held:g} {varied}{goodput}, the highest value tried"
    return f"{start}{promise} up to {held:g} {varied}{goodput}, and not at {broke:g}{why}"


def columns(found: SearchResult) -> tuple[str, ...]:
    latency = (f"{found.threshold.partition('<')[0]} ms", "goodput/s") if found.threshold else ()
    return (word(found), "round", "requests", "failed", *latency, f"{found.unit}/s", "verdict")


def rows(found: SearchResult) -> list[tuple[str, ...]]:
    """The points in order of their value, as far as words go."""
    ordered = sorted(found.points, key=lambda point: (point.value, point.round))
    return [_row(point, found) for point in ordered]


def _row(point: SearchPoint, found: SearchResult) -> tuple[str, ...]:
    latency = (_number(point.latency_ms), _number(point.goodput_rps)) if found.threshold else ()
    counts = (f"{point.value:g}", str(point.round), str(point.requests), str(point.failed))
    return (*counts, *latency, _number(point.inferences_per_s), point.verdict)


def _number(value: float | None) -> str:
    return _DASH if value is None else plain(value, 4)
