"""A real Prometheus, set up as docker/prometheus/ has it, and the queries of the dashboard in docker/grafana/."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from docker_parts import DOCKER
from real_parts import eventually

from raybench.servers.server_process import free_ports

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
CONFIG = DOCKER / "prometheus" / "prometheus.yml"
DASHBOARD = DOCKER / "grafana" / "dashboards" / "raybench.json"
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="there is no Prometheus on PATH: make prometheus")


class Prometheus:
    """One that answers at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def targets(self) -> list[str]:
        """The states of what it scrapes: up, down or unknown."""
        return [target["health"] for target in self._get("targets")["activeTargets"]]

    def now(self, expression: str) -> dict[str, float]:
        """Values by the one label that the expression leaves."""
        found = self._get("query", query=expression)["result"]
        return {",".join(each["metric"].values()): float(each["value"][1]) for each in found}

    def between(self, expression: str, begin_s: float, end_s: float) -> list[float]:
        """All values of all series in a span, a second apart; NaN is none."""
        found = self._get("query_range", query=expression, start=begin_s, end=end_s, step=1)["result"]
        values = [float(value) for series in found for _, value in series["values"]]
        return [value for value in values if value == value]

    def _get(self, what: str, **parameters: Any) -> Any:
        with urlopen(f"{self._url}/api/v1/{what}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def prometheus(folder: Path, ray_head: str, token: str) -> Iterator[Prometheus]:
    """Prometheus with the configuration of compose.yaml, but for the address of Ray's head and the token's place."""
    secret, config = folder / "token", folder / "prometheus.yml"
    secret.write_text(token)
    text = CONFIG.read_text()
    assert text.count("ray_head:8265") == text.count("/run/secrets/ray_auth_token") == 1
    config.write_text(text.replace("ray_head:8265", ray_head).replace("/run/secrets/ray_auth_token", str(secret)))
    (port,) = free_ports(1)
    flags = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command = [str(PROMETHEUS), *flags, f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        assert eventually(lambda: _is_scraping(found), timeout_s=60), (folder / "prometheus.log").read_text()
        yield found
    finally:
        process.terminate()
        process.wait(timeout=20)


def _is_scraping(found: Prometheus) -> bool:
    try:
        return "up" in found.targets()
    except (URLError, ConnectionError):
        return False


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def queries(run: str) -> dict[str, str]:
    """Each query of the dashboard by its panel and letter, as Grafana asks it of one run."""
    return {
        f"{panel['title']} {target['refId']}": re.sub(
            r"\$\w+", ".*", target["expr"].replace("$__rate_interval", "8s").replace("$run", run)
        )
        for panel in panels()
        for target in panel["targets"]
    }
