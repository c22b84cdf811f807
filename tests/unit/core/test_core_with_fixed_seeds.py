"""Runs tests/cpp, for fixed seeds that the installed module does not offer, and the corpora of tests/fuzz/cpp."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.core_seeds import SEEDS
from fuzz.fuzzers import CORPORA, write_seeds

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = [*sorted(path.stem for path in (ROOT / "tests/cpp").glob("*_test.cpp")), "fuzz_replay"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_core_with_fixed_seeds(program, tmp_path):
    beside = Path(sys.executable).with_name("cmake")
    cmake = str(beside) if beside.exists() else shutil.which("cmake")
    if cmake is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("cmake is not installed")
    build = ROOT / "build" / "cpp"
    build.mkdir(parents=True, exist_ok=True)
    configure = [cmake, "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"]
    with (build / ".lock").open("w") as lock:  # one test process at a time builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (configure, [cmake, "--build", str(build), "-j2", "--target", program]):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    folders = []
    if program == "fuzz_replay":
        for name, contents in SEEDS.items():
            write_seeds(tmp_path / name, contents)
        folders = [tmp_path, CORPORA / "cpp"]
    done = subprocess.run([build / program, *folders], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
