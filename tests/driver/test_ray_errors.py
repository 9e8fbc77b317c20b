"""Ray's errors as plain sentences."""

from collections.abc import Callable

import pytest
from ray.exceptions import OutOfMemoryError

from raybench.driver.ray_errors import first_line, last_line, sentence

# As Ray 2.60 says it, with the parts left out that list memory and processes.
LOW = """1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.2, ID: 6669) \
was 22.91GB used / 23.54GB limit (0.973)
OOM kill reason: Memory usage 24600000000B exceeded threshold of 24012685967B (95.0% of 25276510208B limit)
Ray killed 1 worker(s) based on the killing policy
Top 10 memory users: PID\tMEM(GB)\tCOMMAND
10863\t0.49\tpython
Refer to the documentation on how to address the out of memory issue: https://docs.ray.io/en/latest/debug-memory.html"""


@pytest.mark.parametrize("said", [sentence, first_line, last_line])
def test_a_worker_that_memory_ended_is_a_sentence(said: Callable[[Exception], str]) -> None:
    """Where Ray's memory monitor ends a worker, its pages become one sentence with what was used and the remedy."""
    assert said(OutOfMemoryError(LOW)) == (
        "Ray ended it because its host was nearly out of memory (22.91 of 23.54 GB used): send with fewer workers or "
        "smaller batches, or stop other programs there"
    )


def test_other_errors_keep_their_words() -> None:
    """Any other error of Ray is said in its own words."""
    error = OutOfMemoryError("line one\nline two")
    assert (sentence(error), first_line(error), last_line(error)) == ("line one line two", "line one", "line two")
