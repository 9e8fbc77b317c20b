"""A server as a child process."""

import os
import re
import socket
from pathlib import Path

import pytest

from raybench.servers.server_process import (
    ServerError,
    ServerProcess,
    TransientStartError,
    free_ports,
    port_beside,
    wait_until,
)


def test_a_server_that_does_nothing_is_not_waited_for(tmp_path: Path) -> None:
    """Where a server that is not ready uses no CPU any more, the wait ends long before its deadline, and says why."""
    command = ["sh", "-c", "echo loading; exec sleep 60"]
    process = ServerProcess(command, env=dict(os.environ), folder=tmp_path, reason=re.compile("never"), sweep="")
    try:
        with pytest.raises(TransientStartError, match="did nothing for 2 s and is not ready: it said last:\nloading"):
            wait_until(lambda: False, process, what="Triton", timeout_s=40, stall_s=2)
    finally:
        process.stop(5)


def test_a_server_that_is_busy_is_waited_for(tmp_path: Path) -> None:
    """A server that computes, however long, has not stalled."""
    command = ["sh", "-c", "while true; do :; done"]
    process = ServerProcess(command, env=dict(os.environ), folder=tmp_path, reason=re.compile("never"), sweep="")
    looks = iter([False] * 40)
    try:
        wait_until(lambda: next(looks, True), process, what="Triton", timeout_s=60, stall_s=2.5)
    finally:
        process.stop(5)


def test_metrics_are_beside_the_port_that_was_named() -> None:
    """A server's metrics are at the port after the one asked for, where a run by url looks, unless that is taken."""
    (port,) = free_ports(1)
    assert port_beside("127.0.0.1", port - 1, otherwise=7) == port
    with socket.create_server(("127.0.0.1", port)):
        assert port_beside("127.0.0.1", port - 1, otherwise=7) == 7
    assert port_beside("127.0.0.1", 65535, otherwise=7) == 7


@pytest.mark.parametrize("start", ["F0000 00:00:1.5 22 tensor.cc:899]", "2026-12-01 05:10:26.1: F tensor.cc:899]"])
def test_why_tensorflow_ended_a_process_is_said(start: str, tmp_path: Path) -> None:
    """TensorFlow's last words come before a log's last lines, which a server that goes down fills with its own."""
    said = [f"{start} Check failed: IsAligned() ptr = 0x55e7", *map(str, range(20))]
    (tmp_path / "said").write_text("\n".join(said))
    process = ServerProcess(
        ["cat", "said"], env=dict(os.environ), folder=tmp_path, reason=re.compile("(no model)"), sweep=""
    )
    try:
        with pytest.raises(ServerError, match="Check failed: IsAligned\\(\\) ptr = 0x55e7\nit said last:\n8\n"):
            wait_until(lambda: False, process, what="Triton", timeout_s=40)
    finally:
        process.stop(5)
