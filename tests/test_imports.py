"""Who may import whom: the layers, and one home for each foreign thing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "raybench"
BACKEND = ROOT / "triton_models"

# Each layer may import its own and those before it.
LAYERS = [
    {"config", "plain_yaml", "samples", "pacing", "steady", "saved_models", "tensorflow_facts", "photos", "model_facts"}
    | {"guardian", "readings"},
    {"plan", "stats", "costs", "conditions", "rounds", "verdicts", "checks", "disturbances", "fairness", "thresholds"}
    | {"clocks", "places", "verify", "clients", "telemetry", "servers", "images", "export", "feed"},
    {"worker", "store", "report", "search", "judge"},
    {"driver", "doctor", "serve", "frames"},
    {"cli"},
    {"__main__"},
]
HOMES = {
    "ray": ["driver/", "images.py"],
    "click": ["cli/"],
    "tritonclient": [
        "clients/kserve.py",
        "clients/triton.py",
        "servers/repository.py",
        "servers/triton.py",
    ],
    "grpc": ["clients/"],
    "hpack": ["clients/unary.py"],
    "jinja2": ["report/page/"],
    "keras": ["export.py"],
    "matplotlib": ["report/page/"],
    "pandas": ["frames.py"],
    "tensorflow": ["export.py", "clients/local.py"],
}
PURE = ["plan", "stats", "costs", "conditions", "rounds", "verdicts", "checks", "disturbances", "fairness", "search"]
PURE += ["clocks", "places", "thresholds", "samples", "readings", "pacing", "steady", "judge"]
# What pure modules are made of: values, and arithmetic on them.
PURE_IMPORTS = {
    *("bisect", "collections", "dataclasses", "functools", "itertools", "math", "random", "statistics", "string"),
    *("typing", "numpy", "pyarrow", "scipy", "urllib"),
}
PURE_MODULES = {*PURE, "config"}  # for the values in config
IMPURE_CALLS = {
    *("print", "echo", "open", "input", "read_text", "write_text", "read_table", "write_table", "memory_map"),
    *("now", "today", "time", "time_ns", "monotonic", "perf_counter", "perf_counter_ns", "urlopen"),
}
SOURCES = sorted(PACKAGE.rglob("*.py"))

# What is in no process that imports these, by whatever way: TensorFlow costs a worker 3-8 s and 650 MB.
LOCAL = "raybench.clients.local"  # the one client that is TensorFlow
FREE = {
    "raybench.cli": {"ray", "tensorflow", "keras", "pandas", "pyarrow", "scipy", "grpc", "tritonclient"},
    "raybench.worker": {"ray", "tensorflow", "keras"},
    "raybench.clients.triton": {"ray", "tensorflow", "keras"},
    "raybench.clients.tfserving": {"ray", "tensorflow", "keras", "tensorflow_serving"},
    "raybench.driver.run": {"tensorflow", "keras"},
    "raybench.driver.actor": {"tensorflow", "keras", "pandas", "scipy", "rich"},  # Ray Data brings pandas
    "raybench.servers.triton": {"ray", "tensorflow", "keras"},
    "raybench.servers.tfserving": {"ray", "tensorflow", "keras", "tensorflow_serving"},
    "raybench.report.text": {"ray", "tensorflow", "keras", "matplotlib", "jinja2"},
    "raybench.report.page": {"ray", "tensorflow", "keras"},
    "raybench.doctor": {"ray", "tensorflow", "keras"},
    "raybench.store": {"ray", "tensorflow", "keras"},
    **{
        f"raybench.telemetry.{path.stem}": {"ray", "tensorflow", "keras"}
        for path in sorted((PACKAGE / "telemetry").glob("*.py"))
        if path.stem != "__init__"
    },
}


def imported(path: Path, *, eagerly: bool = False) -> set[str]:
    """Every module that a file imports, wherever in it or `eagerly`: outside of functions; by its full dotted name."""
    names: set[str] = set()
    for node in outside_functions(ast.parse(path.read_text())) if eagerly else ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef):
            yield from outside_functions(child)


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


def source(name: str) -> Path | None:
    """The file of a module of ours, by its full dotted name; None for anything else."""
    base = ROOT.joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if name and p.exists()), None)


def reached(start: str, *, leave_out: str) -> set[str]:
    """Every module that is imported from `start` on, inside functions too, by its full dotted name."""
    found: set[str] = set()
    rest = {start}
    while rest:
        name = rest.pop()
        found.add(name)
        path = source(name) if name != leave_out else None
        parent = name.rpartition(".")[0]
        rest |= ({parent, *(imported(path) if path else ())} if name.startswith("raybench.") else set()) - found
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


@pytest.mark.parametrize("path", [PACKAGE / f"{name}.py" for name in PURE if source(f"raybench.{name}")], ids=name_of)
def test_pure_modules_have_no_clock_file_or_print(path: Path) -> None:
    """Plans, numbers and doubts take values and return values: they give the same answer whenever they are asked."""
    names = imported(path) - {"raybench"}
    ours = {name.split(".")[1] for name in names if name.startswith("raybench.")}
    assert {name.split(".")[0] for name in names} - {"raybench"} <= PURE_IMPORTS
    assert ours <= PURE_MODULES
    assert calls(path) & IMPURE_CALLS == set()


def test_importing_the_package_imports_nothing() -> None:
    """What `raybench/__init__.py` imported, every process would hold: the driver, each worker, `raybench --help`.

    `raybench.load` imports what it needs when it is called.
    """
    code = "import sys; before = set(sys.modules); import raybench; print(*set(sys.modules) - before)"
    gained = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert gained.split() == ["raybench"]


@pytest.mark.parametrize("start", [name for name in FREE if name != "raybench.cli"])
def test_what_no_way_leads_to(start: str) -> None:
    """No import on any way, not even inside a function, brings TensorFlow to the driver or to workers that talk to a
    server, nor Ray to what knows none; `local` alone is TensorFlow."""
    assert {name.split(".")[0] for name in reached(start, leave_out=LOCAL)} & FREE[start] == set()


@pytest.mark.parametrize("start", FREE)
def test_what_a_process_never_holds(start: str) -> None:
    """What others bring along counts too: `raybench --help` and a worker start quickly, neither with TensorFlow."""
    code = f"import sys, {start}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    held = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert "raybench" in held.split()
    assert set(held.split()) & FREE[start] == set()


@pytest.mark.parametrize(
    ("slow", "users"), [("export", {"cli/export.py"}), ("clients.local", {"clients/__init__.py", "verify.py"})]
)
def test_tensorflow_is_imported_where_it_is_used(slow: str, users: set[str]) -> None:
    """Modules that are TensorFlow are imported inside the one function that needs them."""
    name = f"raybench.{slow}"
    assert {name_of(path) for path in SOURCES if name in imported(path)} == users
    assert {name_of(path) for path in SOURCES if name in imported(path, eagerly=True)} == set()


@pytest.mark.parametrize("path", sorted(BACKEND.rglob("*.py")), ids=lambda path: str(path.relative_to(BACKEND)))
def test_the_backend_runs_without_raybench(path: Path) -> None:
    """The Triton models import nothing from raybench: they must run in Triton's own image."""
    assert not {name for name in imported(path) if name.split(".")[0] == "raybench"}


def test_the_backend_and_the_package_read_alike() -> None:
    """There is one reader of SavedModels, and one of TensorFlow's facts: the package uses the backend's own files."""
    for name in ("saved_models.py", "tensorflow_facts.py"):
        assert (PACKAGE / name).resolve() == BACKEND / "saved_model" / "1" / name
