"""A command on a terminal of its own, and what that showed."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from pathlib import Path

_MOVES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(command: list[object], cwd: Path, env: dict[str, str], width: int = 120) -> tuple[int, bytes]:
    """Exit code, and everything that was written to a terminal of this width, as it came."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    shown: list[bytes] = []
    reader = threading.Thread(target=lambda: shown.extend(iter(lambda: _read(ours), b"")), daemon=True)
    reader.start()
    try:
        done = subprocess.run(
            list(map(str, command)), cwd=cwd, env={**env, "TERM": "xterm-256color"},
            stdin=theirs, stdout=theirs, stderr=theirs, timeout=200, check=False,
        )  # fmt: skip
    finally:
        os.close(theirs)
        reader.join(10)
        os.close(ours)
    return done.returncode, b"".join(shown)


def lines(shown: bytes) -> list[str]:
    """What was written, line by line, without colours and movements; a line that is drawn anew comes again."""
    return [line.strip() for line in re.split(r"[\r\n]+", _MOVES.sub(b"", shown).decode(errors="replace"))]


def _read(terminal: int) -> bytes:
    """Nothing at the end, which Linux tells as an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
