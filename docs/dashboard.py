"""Draw docs/dashboard-*.png: Ray's dashboard, in a headless Chromium, while a run sends to a real Triton.

python docs/dashboard.py
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from browser import opened

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
RUN = [BIN / "raybench", "run", "-s", "triton", "--workers", "4", "--duration", "60", "--ui", "plain"]
SETTLE_S = 12.0  # the dashboard reads CPU and memory again every few seconds
PAGES = {"actors": ("worker 3", 760), "cluster": ("ALIVE", 575)}  # what is waited for, and the height


def main() -> None:
    with tempfile.TemporaryDirectory() as out:
        run = subprocess.Popen([*map(str, RUN), "--out", out], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8")
        try:
            url = until(run, r"Ray dashboard: (http\S+)")
            until(run, r"(trial 1)")
            time.sleep(SETTLE_S)
            token = subprocess.run([BIN / "ray", "get-auth-token"], capture_output=True, encoding="utf-8", check=True)
            for name, (ready, height) in PAGES.items():
                opened(
                    f"{url}/#/{name}",
                    width=1900, height=height, ready=ready, picture=ROOT / "docs" / f"dashboard-{name}.png",
                    cookies={"ray-authentication-token": token.stdout.strip()},
                )  # fmt: skip
        finally:
            run.terminate()
            run.communicate(timeout=60)


def until(run: "subprocess.Popen[str]", pattern: str) -> str:
    """What the pattern finds in the run's lines, once it is there."""
    assert run.stdout
    for line in run.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise RuntimeError(f"{pattern!r} never came")


if __name__ == "__main__":
    main()
