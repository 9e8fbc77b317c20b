"""NVIDIA's libraries are loaded from pip's wheels before TensorFlow looks for them."""

from pathlib import Path

import pytest

from raybench.models.cuda_libraries import load_cuda_libraries

CUSOLVER = "cusolver/lib/libcusolver.so.11"


class Loader:
    """Stands for ctypes.CDLL: it loads what it is asked for, but for names that hold a refused word."""

    def __init__(self, *refused: str) -> None:
        self.refused, self.loaded = refused, list[str]()

    def __call__(self, name: str) -> None:
        if any(word in name for word in self.refused):
            raise OSError(name)
        self.loaded.append(Path(name).name)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folder of package nvidia, with cuSOLVER and cuFFT in it."""
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    for each in (CUSOLVER, "cufft/lib/libcufft.so.11"):
        (tmp_path / each).parent.mkdir(parents=True)
        (tmp_path / each).touch()
    return [tmp_path]


def test_what_the_wheels_have_is_loaded(wheels: list[Path]) -> None:
    """Where there is a driver, every library of the wheels is loaded: TensorFlow misses none of them."""
    assert load_cuda_libraries(Loader(), wheels) == ["libcufft.so.11", "libcusolver.so.11"]


def test_a_host_without_a_driver_loads_nothing(wheels: list[Path]) -> None:
    """A host without a GPU pays for no library of NVIDIA's."""
    loader = Loader("libcuda.so.1")
    assert load_cuda_libraries(loader, wheels) == []
    assert loader.loaded == []


def test_the_users_own_libraries_come_first(wheels: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What LD_LIBRARY_PATH has is not replaced by the wheel's."""
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{(wheels[0] / CUSOLVER).parent}")
    assert load_cuda_libraries(Loader(), wheels) == ["libcufft.so.11"]


def test_a_broken_library_keeps_no_other_from_loading(wheels: list[Path]) -> None:
    """A library that cannot be loaded is left to TensorFlow, and the others are loaded."""
    assert load_cuda_libraries(Loader("cufft"), wheels) == ["libcusolver.so.11"]
