"""The version follows the tag, has a fallback where there is none, and decides nothing."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import deepreduce
from deepreduce import version

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
FALLBACK = SETTINGS["tool"]["setuptools_scm"]["fallback_version"]
AUTHOR = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.invalid", "-c", "commit.gpgsign=false")


@pytest.fixture
def repository(tmp_path):
    """A new repository, with our pyproject.toml and one commit; never the one that the tests are in."""
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def git(folder, *arguments):
    command = ["git", *AUTHOR, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def version_of(folder):
    code = "from setuptools_scm import Configuration, _get_version as g; print(g(Configuration.from_file()))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_tag_is_the_version_and_what_follows_counts_from_it(repository):
    git(repository, "tag", "v0.1.0")
    assert version_of(repository) == "0.1.0"
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "second")
    assert version_of(repository) == f"0.1.1.dev1+g{git(repository, 'rev-parse', 'HEAD')[:9]}"


def test_without_a_tag_and_in_a_shallow_clone_the_commit_is_named(repository, tmp_path_factory):
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "second")
    commit = git(repository, "rev-parse", "HEAD")[:9]
    lineage = FALLBACK.removesuffix("0")
    assert version_of(repository) == f"{lineage}2+g{commit}"
    clone = tmp_path_factory.mktemp("clone")
    git(clone, "clone", "--quiet", "--depth", "1", f"file://{repository}", ".")
    assert version_of(clone) == f"{lineage}1+g{commit}"


def test_without_git_the_fallback_is_the_version(tmp_path):
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    assert version_of(tmp_path) == FALLBACK


def told_version(folder):
    """Of the package in ``folder``, with what it needs, but without what makes an installation editable."""
    command = [sys.executable, "-S", "-m", "deepreduce", "--version"]
    paths = f"{folder}{os.pathsep}{sysconfig.get_path('purelib')}"
    environment = {"PATH": "", "PYTHONPATH": paths}
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=environment).stdout


def test_the_source_tree_alone_has_a_version(tmp_path):
    """Without installation, git and _version.py; it says so, and is of the same lineage."""
    shutil.copytree(
        Path(deepreduce.__file__).parent, tmp_path / "deepreduce", ignore=shutil.ignore_patterns("*.so", "_version.py")
    )
    done = told_version(tmp_path)
    assert done == f"deepreduce {FALLBACK}+source\n"


def test_an_installation_says_what_was_written_when_it_was_built(tmp_path):
    shutil.copytree(
        Path(deepreduce.__file__).parent, tmp_path / "deepreduce", ignore=shutil.ignore_patterns("*.so", "_version.py")
    )
    (template,) = (one["template"] for one in SETTINGS["tool"]["scikit-build"]["generate"])
    (tmp_path / "deepreduce" / "_version.py").write_text(template.replace("${version}", "7.8.9"))
    done = told_version(tmp_path)
    assert done == "deepreduce 7.8.9\n"


def test_no_digest_depends_on_the_version(monkeypatch):
    """Jobs and plans keep their names, whoever made them: a release must not train everything again."""
    from deepreduce.jobs.spec import JobSpec
    from deepreduce.plan import digest as plan_digest
    from deepreduce.train.recipe import Recipe
    from plan_samples import resnet18

    def digests():
        job = JobSpec("network", "name", "S2", "data", Recipe(), 0, teacher="teacher")
        return job.digest, plan_digest(resnet18(8))

    before = digests()
    for module in [one for name, one in sys.modules.items() if name.startswith("deepreduce")]:
        for name in ("__version__", "VERSION"):
            if isinstance(getattr(module, name, None), str):
                monkeypatch.setattr(module, name, "9.9.9")
    assert version.__version__ == "9.9.9"
    assert digests() == before
