"""The processes of a Ray cluster on this host without which no driver here lives."""

from collections.abc import Iterator, Mapping

import psutil

_AGENTS = {"ray::DashboardAgent": "dashboard agent", "ray::RuntimeEnvAgent": "runtime env agent"}  # setproctitle(3)


def vital_processes(session_folder: str, node_id: str) -> dict[int, str]:
    """Pid and name of the GCS of a session on this host, and of the raylet of a node and its agents: it ends with them.

    Other raylets that are seen here are other nodes, which a run may lose. What cannot be seen, as of a cluster in
    another container, is left out.
    """
    return dict(_found({"gcs_server": session_folder, "raylet": f"--node_id={node_id}"}))


def _found(marks: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Processes by their name and what one of the words of their command line has in it."""
    for process in psutil.process_iter(["name", "cmdline"]):
        name = process.info["name"]
        if name in marks and any(marks[name] in word for word in process.info["cmdline"] or ()):
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
