"""Who may import whom: the layers, and one home for each foreign thing."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "raybench"
BACKEND = ROOT / "triton_models"

# Each layer may import its own and those before it.
LAYERS = [
    {"config", "samples", "pacing", "saved_models", "photos", "model_facts", "guardian"},
    {"plan", "stats", "rounds", "checks", "verify", "clients", "telemetry", "servers", "images", "export"},
    {"worker", "store", "report", "search"},
    {"driver", "doctor", "serve"},
    {"cli"},
    {"__main__"},
]
HOMES = {
    "ray": ["driver/", "images.py"],
    "click": ["cli.py"],
    "tritonclient": ["clients/triton.py", "servers/repository.py", "servers/triton.py", "telemetry/"],
    "keras": ["export.py"],
    "tensorflow": ["export.py", "clients/local.py"],
}
PURE = ["plan.py", "stats.py", "rounds.py", "checks.py", "samples.py", "pacing.py"]
IMPURE_MODULES = {
    "time",
    "datetime",
    "os",
    "io",
    "pathlib",
    "subprocess",
    "socket",
    "tempfile",
    "shutil",
    "sys",
    "rich",
}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if not path.is_symlink())


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it, by its full dotted name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def calls(path: Path) -> set[str]:
    found = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {func.id if isinstance(func, ast.Name) else getattr(func, "attr", "") for func in found}


def module(path: Path) -> str:
    """The first name below the package: clients/triton.py is of `clients`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(name: str) -> int:
    (found,) = [number for number, names in enumerate(LAYERS) if name in names] or [None]
    assert found is not None, f"{name} has no layer: give it one"
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", [path for path in SOURCES if path != PACKAGE / "__init__.py"], ids=name_of)
def test_layers_never_import_upward(path: Path) -> None:
    """A module imports its own layer and those below, so that what is pure stays so and Ray stays in its home."""
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("raybench.")}
    known = {name for names in LAYERS for name in names}
    upward = {name for name in ours & known if layer(name) > layer(module(path))}
    assert upward == set()


def test_every_module_has_a_layer() -> None:
    """A new module takes its place in the layers before it imports anything."""
    known = {name for names in LAYERS for name in names} | {"__init__"}
    assert {module(path) for path in PACKAGE.rglob("*.py")} <= known


@pytest.mark.parametrize("foreign", HOMES)
def test_a_foreign_thing_has_one_home(foreign: str) -> None:
    """A library that is large, slow or apt to change is imported where it lives and nowhere else."""
    users = {name_of(path) for path in SOURCES if foreign in {name.split(".")[0] for name in imported(path)}}
    assert users
    assert {name for name in users if not name.startswith(tuple(HOMES[foreign]))} == set()


@pytest.mark.parametrize("path", [PACKAGE / name for name in PURE if (PACKAGE / name).exists()], ids=name_of)
def test_pure_modules_have_no_clock_file_or_print(path: Path) -> None:
    """Plans, numbers and doubts take values and return values: they give the same answer whenever they are asked."""
    assert {name.split(".")[0] for name in imported(path)} & IMPURE_MODULES == set()
    assert calls(path) & {"print", "open", "input", "read_text", "write_text"} == set()


@pytest.mark.parametrize("path", sorted(BACKEND.rglob("*.py")), ids=lambda path: str(path.relative_to(BACKEND)))
def test_the_backend_runs_without_raybench(path: Path) -> None:
    """The Triton models import nothing from raybench: they must run in Triton's own image."""
    assert not {name for name in imported(path) if name.split(".")[0] == "raybench"}


def test_the_backend_and_the_package_read_saved_models_alike() -> None:
    """There is one reader of SavedModels: the package uses the backend's own file."""
    assert (PACKAGE / "saved_models.py").resolve() == BACKEND / "saved_model" / "1" / "saved_models.py"
