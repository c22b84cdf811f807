"""The compiled module that is installed: nothing in it makes secrets predictable, and no test hook is compiled in."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from deepreduce import _core

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("check_dist", ROOT / "packaging" / "check_dist.py")
check_dist = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_dist)

DRAWS = """
import hashlib, random
import numpy as np
from deepreduce import _core
random.seed(1); np.random.seed(1)
print(hashlib.sha256(_core.HeClient(32).public_key()).hexdigest())
print(_core.Delta.random().to_bytes().tobytes().hex())
print(_core.random_ring(4, 64).tobytes().hex())
"""


def test_no_two_processes_draw_the_same_secrets():
    environment = {"PYTHONHASHSEED": "0", "PYTHONPATH": ":".join(sys.path)}
    runs = [
        subprocess.run([sys.executable, "-c", DRAWS], check=True, capture_output=True, text=True, env=environment)
        for _ in range(2)
    ]
    first, second = (run.stdout.splitlines() for run in runs)
    assert len(first) == len(second) == 3
    assert not set(first) & set(second)


def test_what_holds_secrets_cannot_be_given_a_seed():
    """The stub is the module's (tests/architecture): no maker of keys and Deltas has an argument for randomness."""
    tree = ast.parse((ROOT / "src/deepreduce/_core.pyi").read_text())
    makers = {
        f"{owner.name}.{one.name}": [argument.arg for argument in [*one.args.args, *one.args.kwonlyargs]]
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for one in owner.body
        if isinstance(one, ast.FunctionDef) and one.name in ("__init__", "random", "encrypt", "respond")
    }
    assert {"HeClient.__init__", "HeServer.__init__", "HeServer.respond", "HeClient.encrypt", "Delta.random"} <= set(
        makers
    )
    assert makers["HeClient.__init__"] == ["self", "ring_bits"]
    assert makers["HeServer.__init__"] == ["self", "ring_bits", "keys", "levels"]
    assert makers["Delta.random"] == []
    for arguments in makers.values():
        assert not [name for name in arguments if "seed" in name or "random" in name]
    with pytest.raises(TypeError):
        _core.HeClient(32, b"\0" * 16)


def test_no_hook_of_the_tests_is_compiled_in():
    name = f"deepreduce/{Path(_core.__file__).name}"
    content = Path(_core.__file__).read_bytes()
    assert check_dist.insecure({name: content}) == []
    for planted in (b"_Z10declassifyPKvm", b"__asan_init", b"__msan_init", b"insecure_fixed_seeds"):
        assert check_dist.insecure({name: content + b"\0" + planted + b"\0"}), planted
