"""What is in the archives: all that is meant to be there, and nothing else. ``python packaging/check_dist.py dist``.

The source archive holds what git knows of the named folders; a wheel holds the package of the source archive, byte for
byte, with the compiled module and the version. Standard library only.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from itertools import product
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
NEEDED = {  # data that the code reads, and what tools look for
    "deepreduce/py.typed",
    "deepreduce/_core.pyi",
    "deepreduce/report/published.json",
    "deepreduce/report/report.css",
    "deepreduce/report/report.js",
    "deepreduce/report/template.html",
}
VERSION_FILE = "deepreduce/_version.py"
ENTRY_POINTS = "[console_scripts]\ndeepreduce=deepreduce.cli.main:run"
FOREIGN_FOLDERS = {"tests", "test", "bench", "results", "corpus", "corpora", "reproduction", "examples", "__pycache__"}
# Helpers that give security up live in the tests and say so in their names. `--insecure` is the user's own choice.
INSECURE_NAME = re.compile(rb"(fixed_seed|insecure_[a-z]|[a-z]_insecure|trusted_dealer|_for_tests?\b)", re.IGNORECASE)
INSTRUMENTED = re.compile(rb"(declassify|keep_secret|__[atmu]san_|__ubsan|__gcov)")
Files = dict[str, bytes]


def read_wheel(path: Path) -> Files:
    """Name -> content."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}


def read_sdist(path: Path) -> Files:
    """Name below the archive's one folder -> content. Raises `ValueError` for links and paths that lead out of it."""
    files = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            parts = PurePosixPath(member.name).parts
            if member.isdir():
                continue
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or ".." in parts or member.name.startswith("/"):
                raise ValueError(f"{path.name}: {member.name} is no plain file inside")
            files["/".join(parts[1:])] = content.read()
    return files


def tracked_files() -> set[str] | None:
    """What git knows, or None outside a repository."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return set(done.stdout.split("\0")) - {""} if done.returncode == 0 else None


def sdist_problems(files: Files, tracked: set[str] | None) -> list[str]:
    """Everything that is wrong with a source archive; ``tracked``: what git knows."""
    problems = [
        f"{name} is missing" for name in ("LICENSE", "README.md", "pyproject.toml", "PKG-INFO") if name not in files
    ]
    problems += [f"src/{name} is missing" for name in sorted(NEEDED) if f"src/{name}" not in files]
    problems += _foreign(files)
    if tracked is not None:
        problems += [f"git does not know {name}" for name in sorted(set(files) - tracked - {"PKG-INFO"})]
        built_from = {name for name in tracked if name.startswith(("src/deepreduce/", "cpp/"))}
        problems += [f"{name} is in git and not in the archive" for name in sorted(built_from - set(files))]
    return problems


def wheel_problems(name: str, files: Files, sdist: Files, *, compiled: bool = True) -> list[str]:
    """Everything that is wrong with a wheel called ``name``; ``compiled``: whether it must have the module."""
    metadata = {member: data for member, data in files.items() if member.split("/")[0].endswith(".dist-info")}
    package = {member: data for member, data in files.items() if member not in metadata}
    expected = {member.removeprefix("src/"): data for member, data in sdist.items() if member.startswith("src/")}
    modules = sorted(member for member in package if member.endswith(".so"))
    problems = _foreign(package) + insecure(package)
    extra = set(package) - set(expected) - set(modules) - {VERSION_FILE}
    problems += [f"{member} is not in the source archive" for member in sorted(extra)]
    problems += [f"{member} is missing" for member in sorted((set(expected) | NEEDED | {VERSION_FILE}) - set(package))]
    problems += [f"{member} is not as in the source archive" for member, data in sorted(expected.items())
                 if package.get(member, data) != data]  # fmt: skip
    suffix = ".abi3.so" if "-abi3-" in name else f".cpython-{name.split('-')[2].removeprefix('cp')}-"
    if compiled and (len(modules) != 1 or not modules[0].startswith("deepreduce/_core" + suffix)):
        problems.append(f"one module deepreduce/_core{suffix}* is expected, found: {modules}")
    return problems + record_problems(files) + metadata_problems(name, files)


def record_problems(files: Files) -> list[str]:
    """Whether RECORD lists every file once, with its size and digest."""
    records = [member for member in files if member.endswith(".dist-info/RECORD")]
    if len(records) != 1:
        return ["there is not one RECORD"]
    problems, seen = [], set()
    for member, digest, size in csv.reader(io.StringIO(files[records[0]].decode())):
        if member in seen or member not in files:
            problems.append(f"RECORD lists {member}, which is listed twice or is not there")
            continue
        seen.add(member)
        if member == records[0]:
            continue
        found = base64.urlsafe_b64encode(hashlib.sha256(files[member]).digest()).rstrip(b"=").decode()
        if digest != f"sha256={found}" or size != str(len(files[member])):
            problems.append(f"RECORD has another digest or size of {member}")
    return problems + [f"RECORD does not list {member}" for member in sorted(set(files) - seen)]


def metadata_problems(name: str, files: Files) -> list[str]:
    """METADATA, the license, the entry point and the version against the wheel's name."""
    distribution, version = name.split("-")[:2]
    folder = f"{distribution}-{version}.dist-info"
    if f"{folder}/METADATA" not in files:
        return [f"{folder}/METADATA is missing"]
    fields: Message = message_from_string(files[f"{folder}/METADATA"].decode())
    wanted = {"Name": "deepreduce", "Version": version, "License-Expression": "Apache-2.0", "License-File": "LICENSE"}
    problems = [
        f"{field} is {fields[field]!r}, not {value!r}" for field, value in wanted.items() if fields[field] != value
    ]
    classifiers = fields.get_all("Classifier", [])
    problems += [
        f"the classifier {one!r} contradicts the license expression" for one in classifiers if one[:7] == "License"
    ]
    required = [one for one in fields.get_all("Requires-Dist", []) if "extra ==" not in one]
    problems += [f"{one!r} is required without an extra" for one in required if one.startswith("torch")]
    if fields["Requires-Python"] is None or not fields.get_payload():
        problems.append("Requires-Python or the description is missing")
    if b"Apache License" not in files.get(f"{folder}/licenses/LICENSE", b""):
        problems.append("licenses/LICENSE is missing")
    if ENTRY_POINTS not in files.get(f"{folder}/entry_points.txt", b"").decode().replace(" = ", "="):
        problems.append("the command deepreduce is not an entry point")
    if f'VERSION = "{version}"' not in files.get(VERSION_FILE, b"").decode().splitlines():
        problems.append(f"{VERSION_FILE} does not say {version}")
    parts = [part.split(".") for part in name.removesuffix(".whl").split("-")[2:]]
    found = message_from_string(files.get(f"{folder}/WHEEL", b"").decode()).get_all("Tag", [])
    if set(found) != {"-".join(tag) for tag in product(*parts)}:
        problems.append(f"WHEEL has other tags than the name: {found}")
    return problems


def _foreign(files: Files) -> list[str]:
    return [f"{name} is in a folder that does not belong there" for name in sorted(files)
            if FOREIGN_FOLDERS & set(PurePosixPath(name).parts[:-1])]  # fmt: skip


def insecure(files: Files) -> list[str]:
    """Python and compiled files that name an insecure helper, a hook of tests/constant_time or a sanitizer."""
    problems = []
    for name, data in sorted(files.items()):
        if name.endswith((".py", ".pyi", ".so")) and (match := INSECURE_NAME.search(data)):
            problems.append(f"{name} mentions {match[0].decode()}, an insecure helper")
        if name.endswith(".so") and (match := INSTRUMENTED.search(data)):
            problems.append(f"{name} mentions {match[0].decode()}: it is not a release build")
    return problems


def main(folder: Path) -> int:
    """Checks one source archive and the wheels beside it; prints what is wrong."""
    sdists, wheels = sorted(folder.glob("*.tar.gz")), sorted(folder.glob("*.whl"))
    if len(sdists) != 1 or not wheels:
        print(f"{folder} has {len(sdists)} source archives and {len(wheels)} wheels; make wheel writes one and some")
        return 1
    sdist = read_sdist(sdists[0])
    problems = {sdists[0].name: sdist_problems(sdist, tracked_files())}
    problems |= {path.name: wheel_problems(path.name, read_wheel(path), sdist) for path in wheels}
    problems |= {
        path.name: [*problems[path.name], "the platform is plain linux: not repaired"]
        for path in wheels
        if "manylinux" not in path.name
    }
    for name, found in problems.items():
        print(f"{name}: {'as it should be' if not found else ''}", *found, sep="\n  " if found else "")
    return int(any(problems.values()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
