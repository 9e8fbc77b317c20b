"""Errors as sentences."""

import re

_FRAME = re.compile(r"(Graph execution error:|Detected at .*|<stack traces unavailable>|\s*\[\[.*|\s*)")


def sentence(error: Exception) -> str:
    """TensorFlow's message, without the frame that it puts around it."""
    message = str(getattr(error, "message", None) or error)
    lines = [line for line in message.splitlines() if not _FRAME.fullmatch(line)]
    return readable(re.sub(r"\{\{.*?\}\} ?", "", (lines or [message])[0]).strip()) or type(error).__name__


def readable(text: str) -> str:
    """Text with paths as written: a Python inside Triton has surrogates for their letters, and no log takes those."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
