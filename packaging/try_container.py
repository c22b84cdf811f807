"""The steps of the Containerfile without a container engine: ``python try_container.py DIST ROOT``.

ROOT is a folder with Debian 12 (``try_service.sh DIST ROOT`` makes one), which stands in for the base image: Python
3.11 instead of its 3.12. Each stage works on a copy of it. RUN is run by systemd-nspawn; then the image's command as
its user, without capabilities, on a read-only root; its health check while it serves and after it has ended; a
prediction from outside. What a container engine adds (layers, its own runtime, its network) is not tried. As root, with
dockerfile-parse and an installed deepreduce[client].
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dockerfile_parse import DockerfileParser

import try_wheel

HERE = Path(__file__).resolve().parent
USER = 7000
SECRETS = {"tls.crt": 0o444, "tls.key": 0o400, "token": 0o400, "store.key": 0o400}
Step = dict[str, str]


def stages() -> list[list[Step]]:
    """The instructions from each FROM on, without comments and ARG."""
    with tempfile.TemporaryDirectory() as place:
        parser = DockerfileParser(path=place)
        parser.content = (HERE / "Containerfile").read_text()
        found: list[list[Step]] = []
        for step in parser.structure:
            if step["instruction"] == "FROM":
                found.append([])
            elif step["instruction"] not in ("ARG", "COMMENT"):
                found[-1].append(step)
    return found


def environment(steps: list[Step]) -> dict[str, str]:
    """What ENV sets."""
    pairs = [pair for step in steps if step["instruction"] == "ENV" for pair in step["value"].split()]
    return dict(pair.split("=", 1) for pair in pairs)


def nspawn(root: Path, *options: str) -> list[str]:
    """The beginning of a command in ``root``."""
    return ["systemd-nspawn", "--quiet", "--pipe", "--register=no", "--keep-unit", f"--directory={root}", *options]


def copy(value: str, root: Path, context: Path, built: dict[str, Path]) -> None:
    """COPY, as far as the file uses it: patterns of the context, or one folder of another stage."""
    words = value.split()
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    *sources, target = [word for word in words if not word.startswith("--")]
    place = root / target.lstrip("/")
    if "from" in options:
        shutil.copytree(built[options["from"]] / sources[0].lstrip("/"), place, symlinks=True)
    else:
        place.mkdir(parents=True)
        for path in [path for source in sources for path in sorted(context.glob(source))]:
            shutil.copy(path, place)
    if owner := options.get("chown"):
        subprocess.run(["chown", "-R", owner, place], check=True)


def build(base: Path, context: Path, place: Path) -> Path:
    """The root of the last stage."""
    certificates = Path(os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"))
    first, last = stages()
    roots = {"build": place / "build", "image": place / "image"}
    for name, steps in (("build", first), ("image", last)):
        root = roots[name]
        subprocess.run(["cp", "--archive", "--reflink=auto", base, root], check=True)
        for left in ("opt", "dist", "etc/deepreduce", "var/lib/private/deepreduce"):  # by try_service.sh
            shutil.rmtree(root / left, ignore_errors=True)
        (root / "var/lib/deepreduce").unlink(missing_ok=True)
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        for step in steps:
            if step["instruction"] == "COPY":
                copy(step["value"], root, context, roots)
            elif step["instruction"] == "RUN":
                options = (
                    f"--bind-ro={certificates}:/pip.crt",
                    "--setenv=PIP_CERT=/pip.crt",
                    "--resolv-conf=copy-host",
                )
                subprocess.run([*nspawn(root, *options), "/bin/sh", "-c", step["value"]], check=True)
    return roots["image"]


def command(root: Path, mounts: dict[str, Path], *program: str) -> list[str]:
    """``program`` in the image as its user: nothing writable but the volume and /tmp, no capabilities."""
    steps = stages()[-1]
    binds = [f"--bind{'' if target.startswith('/var') else '-ro'}={path}:{target}" for target, path in mounts.items()]
    settings = [f"--setenv={name}={value}" for name, value in environment(steps).items()]
    user = next(step["value"] for step in steps if step["instruction"] == "USER")
    uid, gid = user.split(":")
    rights = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    who = ("setpriv", f"--reuid={uid}", f"--regid={gid}", *rights)
    return [*nspawn(root, "--read-only", "--as-pid2", *binds, *settings), *who, *program]


def secrets(folder: Path) -> None:
    """A certificate for 127.0.0.1, a token and a key for the store, readable by the image's user."""
    folder.mkdir()
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-keyout", folder / "tls.key", "-out", folder / "tls.crt"]
    subprocess.run(["openssl", "req", *key, *subject, *files], check=True, capture_output=True)
    (folder / "token").write_text("open sesame\n")
    (folder / "store.key").write_bytes(os.urandom(32))
    for name, mode in SECRETS.items():
        os.chown(folder / name, USER, USER)
        (folder / name).chmod(mode)


def main(context: Path, base: Path) -> None:
    """Prints what was seen; an `AssertionError` or `CalledProcessError` says what is wrong."""
    with tempfile.TemporaryDirectory(dir=base.parent) as temporary:
        place = Path(temporary)
        place.chmod(0o755)
        root = build(base, context, place)
        plan, state = place / "plan", place / "state"
        plan.mkdir()
        (root / "plan").mkdir()  # where it is mounted; an engine would make it
        try_wheel.make_plan(plan)
        subprocess.run(["cp", "--archive", root / "var/lib/deepreduce", state], check=True)
        secrets(place / "secrets")
        mounts = {"/plan": plan, "/var/lib/deepreduce": state, "/run/secrets": place / "secrets"}
        last = {step["instruction"]: step["value"] for step in stages()[-1]}
        health = json.loads(last["HEALTHCHECK"].split("CMD", 1)[1])
        program = json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"])
        checked = [
            "python",
            "-c",
            "import importlib.util as u, os; print(u.find_spec('torch'), u.find_spec('pip'), os.getuid())",
        ]
        print("torch, pip, user:", subprocess.check_output(command(root, mounts, *checked), text=True).strip())
        with (place / "log").open("w") as log:
            server = subprocess.Popen(command(root, mounts, *program), stdout=log, stderr=log, start_new_session=True)
            try:
                for _ in range(120):
                    if "serving /plan" in (place / "log").read_text() or server.poll() is not None:
                        break
                    time.sleep(0.5)
                assert server.poll() is None, (place / "log").read_text()
                assert subprocess.run(command(root, mounts, *health), check=False).returncode == 0, "unhealthy"
                predict(plan, place)
            finally:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait(60)
        dead = subprocess.run(command(root, mounts, *health), check=False, capture_output=True).returncode
        assert dead != 0, "the health check says that a server that has ended is well"
        assert (state / "store").stat().st_mode & 0o777 == 0o700
    print("served on a read-only root, healthy; after its end unhealthy")


def predict(plan: Path, place: Path) -> None:
    """Every sample, against the integer reference."""
    pictures = sorted((plan / "samples").glob("*.png"))
    options = [
        "--tls-ca",
        place / "secrets/tls.crt",
        "--token-file",
        place / "secrets/token",
        "--store",
        place / "client",
    ]
    answer = json.loads(
        try_wheel.ask("predict", "127.0.0.1:7000", *map(str, [*pictures, *options]), "--protocol", "delphi", "--json")
    )
    expected = [list(one) for one in try_wheel.expected(plan, pictures)]
    assert [entry["logits"] for entry in answer["predictions"]] == expected
    print(len(pictures), "answers equal to the integer reference, over TLS with a token")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
