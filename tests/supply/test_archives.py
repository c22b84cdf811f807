"""What would be released: a source archive and a wheel, packed from a copy of the tree in which stray files lie about.

The wheel is packed without its compiled module, which takes a minute; `make wheel` checks whole ones with this code.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("check_dist", ROOT / "packaging" / "check_dist.py")
check_dist = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_dist)

STRAY = (
    "src/deepreduce/_core.cpython-39-x86_64-linux-gnu.so",
    "src/deepreduce/notes.txt",
    "src/deepreduce/report/records.jsonl",
    "src/deepreduce/__pycache__/errors.cpython-311.pyc",
    "cpp/corpus/crash-1",
    "results/records.jsonl",
    "tests/conftest.py",
    ".env",
)
VERSION = "1.2.3"
TAG = "py3-none-any"  # without its compiled module


def copied(folder):
    """The files that git knows (or, without git, the sources), and the stray ones."""
    known = check_dist.tracked_files() or {
        str(path.relative_to(ROOT)) for name in ("src", "cpp", "docs") for path in (ROOT / name).rglob("*.*")
    } | {"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "pyproject.toml", "CMakeLists.txt"}
    for name in known:
        if (ROOT / name).is_file() and not name.endswith((".pyc", ".so")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for name in STRAY:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"stray")
    return known


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """(files of the source archive, files of the wheel, what git knows)."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    known = copied(tree)
    code = f"""
from scikit_build_core.build import build_sdist, build_wheel
build_sdist({str(out)!r})
build_wheel({str(out)!r}, {{"wheel.cmake": "false", "wheel.py-api": "py3"}})
"""
    environment = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": VERSION}
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    assert sdist.name == f"deepreduce-{VERSION}.tar.gz"
    return check_dist.read_sdist(sdist), check_dist.read_wheel(wheel), known


def wheel_problems(files, sdist):
    return check_dist.wheel_problems(f"deepreduce-{VERSION}-{TAG}.whl", files, sdist, compiled=False)


def listed(files):
    """The same files with a RECORD that fits them."""
    (record,) = (name for name in files if name.endswith("/RECORD"))
    rows = [f"{record},,"]
    for name, data in files.items():
        if name != record:
            digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(data)}")
    return {**files, record: "\n".join(rows).encode()}


def test_the_source_archive_holds_what_git_knows_and_nothing_stray(archives):
    sdist, _, known = archives
    assert not set(STRAY) & set(sdist)
    assert check_dist.sdist_problems(sdist, known) == []


def test_the_wheel_holds_the_package_and_nothing_else(archives):
    sdist, wheel, _ = archives
    assert wheel_problems(wheel, sdist) == []
    assert len(wheel) > 200


def test_a_wheel_needs_its_compiled_module(archives):
    """And one that fits its tag: not one of another Python that lay about."""
    sdist, wheel, _ = archives
    name = f"deepreduce-{VERSION}-cp311-cp311-manylinux_2_34_x86_64.whl"
    assert "one module" in "".join(check_dist.wheel_problems(name, wheel, sdist))
    (tags,) = (member for member in wheel if member.endswith(".dist-info/WHEEL"))
    wheel = {**wheel, tags: wheel[tags].replace(TAG.encode(), b"cp311-cp311-manylinux_2_34_x86_64")}
    for module, fits in (("cpython-311-x86_64-linux-gnu", True), ("cpython-39-x86_64-linux-gnu", False)):
        files = listed({**wheel, f"deepreduce/_core.{module}.so": b"code"})
        assert (check_dist.wheel_problems(name, files, sdist) == []) is fits


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("deepreduce/tests/test_it.py", b""),
        ("tests/conftest.py", b""),
        ("deepreduce/report/records.jsonl", b"{}"),
        ("deepreduce/two_party.py", b"def dealt():\n    ..."),
        ("libgomp.so.1", b""),
    ],
)
def test_what_does_not_belong_into_a_wheel_is_found(archives, name, data):
    sdist, wheel, _ = archives
    assert any(name in problem for problem in wheel_problems(listed({**wheel, name: data}), sdist))


@pytest.mark.parametrize(
    "helper",
    [
        b"def keys_with_fixed_seeds():",
        b"class TrustedDealer: # trusted_dealer",
        b"insecure_deal = 1",
        b"def open_for_test():",
    ],
)
def test_insecure_helpers_are_found_by_their_names(archives, helper):
    """Even where they are in the source archive, too: in Python and in the compiled module."""
    sdist, wheel, _ = archives
    for name in ("deepreduce/private/dealer.py", "deepreduce/_core.abi3.so"):
        files = listed({**wheel, name: b"\0" + helper + b"\0"})
        found = wheel_problems(files, {**sdist, f"src/{name}": files[name]})
        assert any("insecure helper" in problem and name in problem for problem in found)


@pytest.mark.parametrize(
    "name", ["py.typed", "report/template.html", "report/published.json", "errors.py", "_version.py"]
)
def test_what_is_missing_is_found(archives, name):
    sdist, wheel, _ = archives
    files = {member: data for member, data in wheel.items() if member != f"deepreduce/{name}"}
    assert f"deepreduce/{name} is missing" in wheel_problems(listed(files), sdist)


def test_changed_content_is_found(archives):
    """With a RECORD that fits it, by the source archive; without, by both."""
    sdist, wheel, _ = archives
    changed = {**wheel, "deepreduce/errors.py": wheel["deepreduce/errors.py"] + b"\n"}
    assert wheel_problems(listed(changed), sdist) == ["deepreduce/errors.py is not as in the source archive"]
    assert "RECORD has another digest or size of deepreduce/errors.py" in wheel_problems(changed, sdist)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"License-Expression: Apache-2.0", b"License-Expression: MIT"),
        (b"Tag: py3-none-any", b"Tag: cp311-cp311-linux_x86_64"),
        (b"Requires-Dist: numpy>=1.26", b"Requires-Dist: torch"),
        (b"Version: 1.2.3", b"Version: 1.2.4"),
        (b"deepreduce.cli.main:run", b"deepreduce.cli.main:gone"),
        (b"Classifier: Typing :: Typed", b"Classifier: License :: OSI Approved :: MIT License"),
    ],
)
def test_wrong_metadata_is_found(archives, old, new):
    sdist, wheel, _ = archives
    (name,) = (
        member for member, data in wheel.items() if ".dist-info/" in member and old in data and "RECORD" not in member
    )
    assert wheel_problems(listed({**wheel, name: wheel[name].replace(old, new)}), sdist)


def test_links_in_a_source_archive_are_refused(tmp_path):
    import tarfile

    path = tmp_path / "deepreduce-1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("deepreduce-1/LICENSE")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ValueError, match="LICENSE is no plain file"):
        check_dist.read_sdist(path)


def test_a_folder_without_archives_fails(tmp_path, capsys):
    assert check_dist.main(tmp_path) == 1
    with zipfile.ZipFile(tmp_path / "deepreduce-1-py3-none-any.whl", "w"):
        pass
    assert check_dist.main(tmp_path) == 1
    assert "0 source archives and 1 wheels" in capsys.readouterr().out
