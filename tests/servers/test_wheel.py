"""The tritonserver of NVIDIA's wheel: the environment that it runs in."""

import os
from pathlib import Path

import pytest

from raybench.servers import wheel


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a user who has chosen no allocator."""
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name in ("LD_PRELOAD", "GLIBC_TUNABLES")]:
        monkeypatch.delenv(name)


def test_triton_keeps_its_buffers() -> None:
    """Triton does not give the memory of a request back to the kernel and fault it in again for the next."""
    environment = wheel.environment(Path("/nowhere"))
    assert wheel.malloc().items() <= environment.items()
    assert int(environment["MALLOC_TRIM_THRESHOLD_"]) > int(environment["MALLOC_MMAP_THRESHOLD_"]) > 100 * 224 * 224 * 3


@pytest.mark.parametrize("chosen", ["LD_PRELOAD", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_who_chooses_an_allocator_keeps_it(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An allocator, or settings of one, that the user's environment brings are left as they are."""
    monkeypatch.setenv(chosen, "2")
    assert wheel.malloc() == {}
    assert wheel.environment(Path("/nowhere"))[chosen] == "2"
