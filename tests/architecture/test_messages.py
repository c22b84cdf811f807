"""The library speaks of settings, not of the command line's options; the command line names its options."""

import ast
import re
from pathlib import Path

import deepreduce
import deepreduce.cli.main  # which tells the options of its verbs
from deepreduce.cli.flags import with_flags

ROOT = Path(deepreduce.__file__).parent
FLAG = re.compile(r"(?<![\w`-])--[a-z]")
#: Commands of other programs, and whole commands of ours: a user types them as they stand.
COMMANDS = ("ray start --head", "deepreduce search MODEL")


def flags_named(source: str) -> list[str]:
    """Texts of ``source`` that name an option, docstrings left out."""
    tree = ast.parse(source)
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0] if node.body else None, ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in docstrings
        and FLAG.search(node.value)
        and not any(command in node.value for command in COMMANDS)
    ]


def test_the_library_names_no_option():
    found = {
        str(path.relative_to(ROOT)): texts
        for path in sorted(ROOT.rglob("*.py"))
        if path.relative_to(ROOT).parts[0] != "cli" and (texts := flags_named(path.read_text()))
    }
    assert not found


def test_a_planted_option_is_found():
    planted = 'def f():\n    """Give --docs."""\n    raise E("no", f"choose another --out than {x}")\n'
    assert flags_named(planted) == ["choose another --out than "]
    assert not flags_named('hint = "start one: ray start --head"')


def test_the_command_line_names_its_options():
    assert with_flags("give `image_size`, not `nothing`", "search") == "give --image-size, not `nothing`"
    assert with_flags("give `input_shape`", "export") == "give --input"
    assert with_flags("leave `metrics` out", "serve") == "leave --metrics out"
    assert with_flags("`private=False` trains it", "search") == "--no-private trains it"
    assert with_flags("leave `metrics` out", "predict") == "leave `metrics` out"
