"""Processes with a pipe: what they run, that they are bare, and that none outlives its parent."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepreduce.inference.subprocess_call import Child, wait_for_parent


def tell(pipe, *what):
    pipe.send((what, os.getpid(), sorted(sys.modules)))


def test_a_function_runs_elsewhere_and_without_what_its_parent_loaded():
    with Child(tell, 1, "two") as child:
        what, process, modules = child.pipe.recv()
        assert what == (1, "two")
        assert process != os.getpid()
        assert "pytest" in sys.modules
        assert "torch" not in modules
        assert child.exit_code() == 0


def test_leaving_ends_it():
    with Child(wait_for_parent) as child:
        process = child._process
        assert process.poll() is None
    assert process.poll() is not None


def test_a_killed_parent_takes_its_child_along():
    code = (
        "import os, signal\n"
        "from deepreduce.inference.subprocess_call import Child, wait_for_parent\n"
        "print(Child(wait_for_parent)._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    child = int(done.stdout)
    for _ in range(200):
        try:
            os.kill(child, 0)
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":  # ended, but nobody has asked how
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.05)
    pytest.fail(f"process {child} still runs")
