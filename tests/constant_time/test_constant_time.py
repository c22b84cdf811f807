"""No branch or address in the core depends on a secret: watched by MemorySanitizer and valgrind (README.md here)."""

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Every folder of the core has a check.
AREAS = sorted({source.parent.name for source in (ROOT / "cpp").glob("*/*.cpp")} - {"bind"})
# MemorySanitizer runs every path; valgrind sees what the ordinary compiler made of the code, but knows no AVX-512.
TOOLS = {"memory": ("scalar", "avx2", "avx512"), "valgrind": ("scalar", "avx2")}
LEAKS = {
    "memory": "MemorySanitizer: use-of-uninitialized-value",
    "valgrind": "uninitialised value",
}


def program(name: str) -> str:
    """Path of a program that the check needs; without it, skip, or fail on CI."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        reason = f"{name} is not installed: the secret-independence check needs clang++, valgrind and cmake"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return found


@contextlib.contextmanager
def alone(path: Path):
    """One test process at a time builds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(tool: str) -> Path:
    """Build the checks for a tool, in build/constant_time (only what changed is compiled again)."""
    cmake, folder = program("cmake"), ROOT / "build" / "constant_time" / tool
    command = [cmake, "-S", ROOT, "-B", folder, f"-DDEEPREDUCE_CONSTANT_TIME={tool}", "-DCMAKE_BUILD_TYPE=Release"]
    if tool == "memory":
        command.append(f"-DCMAKE_CXX_COMPILER={program('clang++')}")
    with alone(folder.with_suffix(".lock")):
        for step in (
            command,
            [cmake, "--build", folder, "--target", "constant_time", "--parallel", str(os.cpu_count())],
        ):
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    return folder / "tests" / "constant_time" / "constant_time"


@pytest.fixture(scope="module", params=TOOLS)
def tool(request):
    if request.param == "memory" and platform.system() != "Linux":
        pytest.skip("MemorySanitizer works on Linux only")
    runner = [program("valgrind"), "--quiet", "--error-exitcode=9"] if request.param == "valgrind" else []
    return request.param, [*runner, build(request.param)]


def run(tool, check: str, *path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*tool[1], check, *path], capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize("path", ("scalar", "avx2", "avx512"))
@pytest.mark.parametrize("area", AREAS)
def test_no_branch_and_no_address_depends_on_a_secret(tool, area, path):
    if path not in TOOLS[tool[0]]:
        pytest.skip(f"{tool[0]} does not know {path}")
    if f"path {path}\n" not in run(tool, "--list").stdout:
        pytest.skip(f"this CPU lacks {path}")
    done = run(tool, area, path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{area} on {path}: clean\n"


def test_every_area_is_checked(tool):
    listed = {line.split()[1] for line in run(tool, "--list").stdout.splitlines() if line.startswith("check ")}
    assert {check for check in listed if not check.startswith("planted_")} == set(AREAS)


@pytest.mark.parametrize("leak", ("branch", "index", "vector_index"))
def test_a_planted_leak_is_caught(tool, leak):
    done = run(tool, f"planted_{leak}")
    assert done.returncode not in (0, 2)
    assert LEAKS[tool[0]] in done.stderr


def test_a_secret_that_the_tool_loses_is_noticed(tool):
    done = run(tool, "planted_lost_secret")
    assert done.returncode == 3, done.stderr
    assert "lost track of the secret" in done.stderr


def test_arithmetic_on_secrets_is_no_leak(tool):
    done = run(tool, "planted_nothing")
    assert done.returncode == 0, done.stderr
