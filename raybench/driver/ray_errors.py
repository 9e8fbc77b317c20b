"""What Ray's errors say, without the traceback that Ray wraps around what an actor raised."""


def cause_of(error: Exception) -> Exception:
    """What an actor raised; the error itself where it is not of an actor."""
    return getattr(error, "cause", None) or error


def sentence(error: Exception) -> str:
    """An error's own words, in one line."""
    cause = cause_of(error)
    return " ".join(str(cause).split()) or type(cause).__name__


def last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
