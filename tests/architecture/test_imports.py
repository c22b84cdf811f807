"""Who may load the compiled module, and what the command line may load before it answers (docs/layout.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deepreduce

ROOT = Path(deepreduce.__file__).parent

#: Packages that may use the compiled module; the import rules between packages are in pyproject.toml.
USES_CORE = {"benchmark", "export", "inference"}


def imports(path: Path) -> set[str]:
    """Absolute names of every module that the file imports, wherever in the file."""
    package = ("deepreduce", *path.relative_to(ROOT).parent.parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def test_the_compiled_module_is_loaded_by_few():
    """A learning half that runs from the source tree has none."""
    using = {
        path.relative_to(ROOT).parts[0]
        for path in ROOT.rglob("*.py")
        if any(name == "deepreduce._core" or name.startswith("deepreduce._core.") for name in imports(path))
    }
    assert using == USES_CORE


def test_files_are_locked_in_one_place():
    assert [path.name for path in ROOT.rglob("*.py") if "fcntl" in imports(path)] == ["locks.py"]


def test_imports_are_seen():
    """The check itself can fail."""
    assert "deepreduce._core" in imports(ROOT / "inference" / "protocol" / "linear.py")
    assert any(name.startswith("deepreduce.networks.") for name in imports(ROOT / "reduce" / "cull.py"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["search", "--help"],
        ["inspect", "--help"],
        ["bench", "--help"],
        ["export", "--help"],
        ["serve", "--help"],
        ["predict", "--help"],
        ["reproduce", "--help"],
    ],
)
def test_help_does_not_load_torch(arguments):
    code = (
        "import sys; sys.argv = ['deepreduce', *sys.argv[1:]]\n"
        "from deepreduce.cli.main import run\n"
        "try: run()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'plotly', 'matplotlib', 'sklearn', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_import_alone_loads_nothing_heavy():
    code = (
        "import sys, deepreduce; assert 'torch' not in sys.modules; deepreduce.Network; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
