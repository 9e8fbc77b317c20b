"""What Ray's errors say, without the traceback and the paragraphs that Ray wraps around it."""

import re

# "... was 22.9GB used / 24.0GB limit (0.954) OOM kill reason: ...", of ray/src/ray/raylet/worker_killing_policy
_MEMORY = re.compile(r"running low on memory.*? was ([\d.]+)GB used / ([\d.]+)GB limit", re.S)


def cause_of(error: Exception) -> Exception:
    """What an actor raised; the error itself where it is not of an actor."""
    return getattr(error, "cause", None) or error


def sentence(error: Exception) -> str:
    """An error's own words, in one line."""
    cause = cause_of(error)
    return _out_of_memory(str(cause)) or " ".join(str(cause).split()) or type(cause).__name__


def last_line(error: Exception) -> str:
    return _out_of_memory(str(error)) or _line(error, -1)


def first_line(error: Exception) -> str:
    return _out_of_memory(str(error)) or _line(error, 0)


def _line(error: Exception, number: int) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[number]


def _out_of_memory(said: str) -> str | None:
    """What Ray's memory monitor says when it ends a worker, and the remedy; None where it is not that."""
    found = _MEMORY.search(said)
    if not found:
        return None
    full = f"its host was nearly out of memory ({found[1]} of {found[2]} GB used)"
    return f"Ray ended it because {full}: send with fewer workers or smaller batches, or stop other programs there"
