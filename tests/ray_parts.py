"""A real Ray of its own, for what must not share the session's."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_START_S = 90


@contextmanager
def ray_head(home: Path, flags: list[str], settings: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a shell from which a Ray with these `ray start` flags is reached; it ends with the block."""
    mine = {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    environment = {**os.environ, **mine, **settings}
    environment.pop("RAY_ADDRESS", None)
    start = [Path(sys.executable).parent / "ray", "start", "--head", "--block", "--port=0", "--disable-usage-stats"]
    log = home / "ray.log"
    with log.open("wb") as output:
        head = subprocess.Popen([*start, *flags], env=environment, stdout=output, stderr=output)
    try:
        end_s = time.monotonic() + _START_S
        while not (found := re.search(r"--address='(.*?)'", log.read_text(errors="replace"))):
            if head.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"Ray did not start: {log.read_text(errors='replace')}")
            time.sleep(0.2)
        yield {**environment, "RAY_ADDRESS": found[1]}
    finally:
        head.terminate()
        head.wait(timeout=60)
