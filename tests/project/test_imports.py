"""Who may import whom: packages import downward, each foreign library has one home, and the names are unique."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "raybench"
BACKEND = ROOT / "triton_models"
SHARED = (
    "batch_files.py",
    "cuda_libraries.py",
    "cuda_runtime.py",
    "saved_model_loader.py",
    "saved_models.py",
    "tensorflow_facts.py",
)  # the backend's, linked to

# From the bottom to the top: a package imports itself and those before it. `processes` and `config` are at the bottom.
PACKAGES = (
    *("processes", "config", "models", "inputs", "clients", "servers", "telemetry", "results", "analysis", "worker"),
    *("report", "driver", "cli", "__main__"),
)


@dataclass(frozen=True)
class Rule:
    """Where a foreign library may be imported: files, or folders that end in a slash."""

    library: str
    homes: tuple[str, ...]


HOMES = (
    Rule("click", ("cli/",)),
    Rule("grpc", ("clients/",)),
    Rule("hpack", ("clients/grpc/header_block.py",)),
    Rule("jinja2", ("report/html/",)),
    Rule("keras", ("models/export.py",)),
    Rule("matplotlib", ("report/html/",)),
    Rule("pandas", ("report/dataframes.py",)),
    Rule("prometheus_client", ("telemetry/prometheus_text.py",)),
    Rule("pydantic", ("config/", "results/")),
    Rule("ray", ("driver/", "inputs/dataset.py")),
    Rule("rich", ("cli/", "report/")),
    Rule("tensorflow", ("models/export.py", "models/loaded_signature.py", "models/saved_model_loader.py")),
    Rule("tritonclient", ("clients/grpc/", "clients/triton_", "servers/")),
    Rule("yaml", ("config/", "report/", "results/")),
)

# analysis/ takes values and returns values: no clock, no file, no print.
PURE = "analysis/"
IMPURE_CALLS = {
    *("print", "echo", "open", "input", "read_text", "write_text", "read_table", "write_table", "memory_map"),
    *("now", "today", "time", "time_ns", "monotonic", "perf_counter", "perf_counter_ns", "urlopen"),
}

# What a process that imports the left does not hold, by whatever way: TensorFlow costs a worker 3-8 s and 650 MB.
FREE = {
    "raybench": {"ray", "tensorflow", "keras", "numpy", "pyarrow", "typing", "click", "pydantic"},
    "raybench.cli": {"ray", "tensorflow", "keras", "pandas", "pyarrow", "scipy", "grpc", "tritonclient"},
    "raybench.driver.run": {"tensorflow", "keras"},
    "raybench.driver.worker_actor": {"tensorflow", "keras", "pandas", "scipy", "rich"},  # Ray Data brings pandas
    "raybench.report.html": {"ray", "tensorflow", "keras"},
    "raybench.report.text": {"ray", "tensorflow", "keras", "matplotlib", "jinja2"},
    "raybench.servers.tfserving_server": {"ray", "tensorflow", "keras", "tensorflow_serving"},
    "raybench.servers.triton_server": {"ray", "tensorflow", "keras"},
    "raybench.telemetry.recorder": {"ray", "tensorflow", "keras"},
    "raybench.worker.load_worker": {"ray", "tensorflow", "keras"},
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every file of the package but generated ones: its path below the package, and its tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "_pb2" not in path.name:
            yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def imported(tree: ast.AST) -> set[str]:
    """Every module that a file imports, wherever in it, by its full dotted name."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, ast.unparse(node)
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def package(name: str) -> str:
    """The package of ours that a dotted name or a path lies in."""
    return name.removeprefix("raybench.").replace("/", ".").removesuffix(".py").split(".")[0]


def calls(tree: ast.AST) -> set[str]:
    found = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {func.id if isinstance(func, ast.Name) else getattr(func, "attr", "") for func in found}


def offences(path: str, tree: ast.Module) -> Iterator[str]:
    """What one file does against the rules above."""
    names = imported(tree)
    if path != "__init__.py":
        for name in sorted(name for name in names if name.startswith("raybench.") and package(name) in PACKAGES):
            if PACKAGES.index(package(name)) > PACKAGES.index(package(path)):
                yield f"{path} imports {name}, which lies above it"
    for rule in HOMES:
        if rule.library in {name.split(".")[0] for name in names} and not path.startswith(rule.homes):
            yield f"{path} imports {rule.library}, whose home is {', '.join(rule.homes)}"
    if path.startswith(PURE):
        yield from (f"{path} calls {name}()" for name in sorted(calls(tree) & IMPURE_CALLS))


def test_packages_import_downward_and_foreign_libraries_have_one_home() -> None:
    """A newcomer finds each large library in one place, and reads the packages from the top to the bottom."""
    found = dict(sources())
    assert {package(path) for path in found} <= {*PACKAGES, "__init__"}
    assert [offence for path, tree in found.items() for offence in offences(path, tree)] == []
    used = {name.split(".")[0] for tree in found.values() for name in imported(tree)}
    assert {rule.library for rule in HOMES} - used == set()


def modules_imported(tree: ast.Module, modules: Container[str]) -> set[str]:
    """The modules that a file takes something from: of `from a import b` a.b where that is a module, else a."""
    names = [(str(n.module), a.name) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names]
    found = {f"{module}.{name}" if f"{module}.{name}" in modules else module for module, name in names}
    return {name for name in found if name in modules}


def test_no_module_imports_itself_by_a_detour() -> None:
    """Modules that import each other can only be understood together: there are none, for type checkers neither."""
    trees = {f"raybench.{path[:-3]}".replace("/", ".").removesuffix(".__init__"): tree for path, tree in sources()}
    TopologicalSorter({name: modules_imported(tree, trees) for name, tree in trees.items()}).prepare()


def test_modules_and_public_classes_have_names_of_their_own() -> None:
    """A name that is used twice has to be looked up twice: each module and each public class has one of its own."""
    found = dict(sources())
    folders = {str(Path(path).parent) for path in found if "/" in path}
    modules = [Path(path).stem for path in found if Path(path).stem != "__init__"] + [Path(f).name for f in folders]
    classes = [
        node.name
        for tree in found.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert {name for name, count in (Counter(modules) + Counter(classes)).items() if count > 1} == set()


def test_no_process_holds_what_it_does_not_need() -> None:
    """What others bring along counts too: `raybench --help` and a worker start quickly, neither with TensorFlow."""
    held = {}
    code = "import sys, {}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    for start in FREE:
        command = [sys.executable, "-S", "-c", code.format(start)] if start == "raybench" else None
        command = [sys.executable, "-c", code.format(start)] if command is None else command
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd=ROOT)
        held[start] = set(done.stdout.split()) & FREE[start]
    assert held == {start: set() for start in FREE}


def test_the_backend_runs_without_raybench() -> None:
    """The Triton models import nothing from raybench: they must run in Triton's own image."""
    users = [
        str(path.relative_to(BACKEND))
        for path in BACKEND.rglob("*.py")
        if "raybench" in {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
    ]
    assert users == []
    for name in SHARED:
        assert (PACKAGE / "models" / name).resolve() == BACKEND / "saved_model" / "1" / name
