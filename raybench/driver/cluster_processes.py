"""The processes of a Ray cluster on this host without which no driver here lives."""

from collections.abc import Iterator

import psutil

_NAMES = ("gcs_server", "raylet")
_AGENTS = {"ray::DashboardAgent": "dashboard agent", "ray::RuntimeEnvAgent": "runtime env agent"}  # setproctitle(3)


def vital_processes(session_folder: str) -> dict[int, str]:
    """Pid and name of the GCS and the raylet of a session on this host, and of the raylet's agents: it ends with them.

    Those that cannot be seen from here, as of a cluster in another container, are left out.
    """
    return dict(_found(session_folder))


def _found(session_folder: str) -> Iterator[tuple[int, str]]:
    for process in psutil.process_iter(["name", "cmdline"]):
        name = process.info["name"]
        if name in _NAMES and any(session_folder in word for word in process.info["cmdline"] or ()):
            yield process.pid, f"Ray's {name}"
            yield from _agents(process) if name == "raylet" else ()


def _agents(raylet: psutil.Process) -> Iterator[tuple[int, str]]:
    try:
        for child in raylet.children():
            title = " ".join(child.cmdline()).strip()
            if title in _AGENTS:
                yield child.pid, f"Ray's {_AGENTS[title]}"
    except psutil.Error:  # one that has just ended
        return
