"""`serve` and `predict` leave no core file, whatever kills them, and nobody may look into them."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from deepreduce.plan import write_plan, write_weights
from plan_samples import conv, plan_of, random_weights

PLAN = plan_of(conv("c", "input", 1))
# The command runs until it has its secrets: then it says how it is protected, and dies.
PROGRAM = """
import ctypes, os, resource, sys
import deepreduce.inference.client.client, deepreduce.inference.server.server
from deepreduce.cli.main import run

number = int(sys.argv.pop(1))

def dies(*arguments, **settings):
    core = resource.getrlimit(resource.RLIMIT_CORE)
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *core, flush=True)  # PR_GET_DUMPABLE
    os.kill(os.getpid(), number)

deepreduce.inference.client.client.Client.__init__ = deepreduce.inference.server.server.Server.start = dies
run()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def unlimited():
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def killed(folder, number, *arguments, **environment):
    """(what it said, exit code, files that it left) of a command that is killed when it begins its work."""
    (folder / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(int(number)), *map(str, arguments)],
        cwd=folder / "here", env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        preexec_fn=unlimited, timeout=120,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return [int(word) for word in done.stdout.split()], done.returncode, list((folder / "here").iterdir())


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
@pytest.mark.parametrize("verb", ["serve", "predict"])
def test_no_core_file_and_not_dumpable(tmp_path, verb, number):
    write_plan(tmp_path / "plan" / "plan.json", PLAN)
    write_weights(tmp_path / "plan" / "weights.safetensors", PLAN, random_weights(PLAN, np.random.default_rng(0)))
    arguments = {"serve": ["serve", tmp_path / "plan", "--listen", "127.0.0.1:0"], "predict": ["predict", "x:1", "a"]}
    said, code, left = killed(tmp_path, number, *arguments[verb])
    assert said == [0, 0, 0]
    assert code == -number
    assert not left


def test_they_can_be_allowed(tmp_path):
    """And then there is one, where the system writes them into the working folder: the test above can fail."""
    said, code, left = killed(tmp_path, signal.SIGSEGV, "predict", "x:1", "a", DEEPREDUCE_ALLOW_CORE="1")
    assert said[0] == 1
    assert code == -signal.SIGSEGV
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "/" not in pattern and not pattern.startswith("|") and said[1] != 0:
        assert left
    for path in left:
        path.unlink()
