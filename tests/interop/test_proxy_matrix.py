"""Calls through the proxies that people run: each one arrives, whatever their windows, limits and TLS."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import proxies
import pytest
from certificates import Authority

pytestmark = pytest.mark.slow
SIZES = {1: 20, 100: 2}  # images of a request: calls


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    with proxies.upstream() as port:
        yield port


@pytest.mark.parametrize("name", proxies.PROXIES)
def test_no_call_fails_through_a_proxy(name: str, upstream: int, tmp_path: Path) -> None:
    """Through every proxy all requests, small and large, are answered; what they cost is printed."""
    proxy = proxies.PROXIES[name]
    if not shutil.which(proxy.program):
        pytest.skip(f"there is no {proxy.program} on PATH: make proxies")
    authority = Authority(tmp_path)
    with proxies.running(proxy, upstream, authority) as url:
        ca = authority.certificate if proxy.is_tls else None
        for images, calls in SIZES.items():
            outcome = proxies.measure("raybench", url, ca, images, calls)
            print(f"{name}, {images} images: {outcome.cpu_ms:.2f} ms of CPU a call")
            assert outcome.failed == []
