"""Memory and CPU of a process tree."""

import psutil


def tree_usage(pid: int) -> tuple[float, float] | None:
    """RSS in MiB and CPU seconds of a process and its descendants; None when it is gone or dead."""
    try:
        root = psutil.Process(pid)
        if root.status() == psutil.STATUS_ZOMBIE:
            return None
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    rss_bytes, cpu_s = 0, 0.0
    for process in processes:
        try:
            with process.oneshot():
                rss_bytes += process.memory_info().rss
                cpu_s += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return rss_bytes / 2**20, cpu_s
