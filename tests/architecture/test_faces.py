"""Faces: what a package offers is named in its ``__init__``, loads, is documented; cli, examples, bench use no more."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
USERS = ("src/deepreduce/cli", "examples", "bench")
FACES = sorted(
    ".".join(path.parent.relative_to(SOURCE).parts) for path in (SOURCE / "deepreduce").rglob("__init__.pyi")
)


def is_face(module: str) -> bool:
    """A package, or a module at the root, such as `deepreduce.errors`."""
    path = SOURCE / module.replace(".", "/")
    at_root = module.count(".") == 1 and any(path.with_suffix(end).exists() for end in (".py", ".pyi"))
    return (path / "__init__.py").exists() or at_root


def imported(path: Path, root: Path) -> Iterator[tuple[int, str, str]]:
    """(line, module, name) of every import from this package; name is "" for ``import module``."""
    folder = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) - node.level + 1] if node.level else ()
            module = ".".join((*start, *(node.module or "").split("."))).strip(".")
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def past_a_face(path: Path, root: Path) -> list[str]:
    """The imports of ``path``, a file below ``root``, that reach into a package past its face."""
    found = []
    for line, module, name in imported(path, root):
        if module.split(".")[0] != "deepreduce" or module.startswith("deepreduce.cli"):
            continue
        offered = is_face(module)
        if offered and name and (SOURCE / module.replace(".", "/") / "__init__.pyi").exists():
            offered = name in importlib.import_module(module).__all__ or is_face(f"{module}.{name}")
        if not offered:
            found.append(f"{path.relative_to(root)}:{line} imports {name or 'the module'} from {module}")
    return found


def test_users_reach_packages_through_their_faces():
    files = [(path, SOURCE if "src" in user else ROOT) for user in USERS for path in (ROOT / user).rglob("*.py")]
    assert len(files) > 50
    assert [line for path, root in files for line in past_a_face(path, root)] == []


@pytest.mark.parametrize(
    "line",
    [
        "from deepreduce.inference.access.tokens import add_token",
        "import deepreduce.plan.npy",
        "from deepreduce.plan import npy",
        "from deepreduce.plan import missing",
    ],
)
def test_an_import_past_a_face_is_found(tmp_path, line):
    (tmp_path / "user.py").write_text(f"from deepreduce.errors import DeepReduceError\n{line}\n")
    (found,) = past_a_face(tmp_path / "user.py", tmp_path)
    assert found.startswith("user.py:2 ")


@pytest.mark.parametrize("face", FACES)
def test_faces_load_and_are_documented(face):
    package = importlib.import_module(face)
    assert package.__all__
    for name in package.__all__:
        offered = getattr(package, name)
        if inspect.isclass(offered) or inspect.isroutine(offered):
            assert offered.__doc__, f"{face}.{name} has no docstring"
