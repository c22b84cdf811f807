"""What a user of the installed package does first, in the environment of this interpreter: ``python try_wheel.py``.

`deepreduce --version`, `doctor`, then `serve` of a small plan and `predict` of PNG files from a second process, whose
answers must be those of the integer reference. The plan has random weights and is made here, or is that of `deepreduce
export --samples N` (``--plan DIR``). ``--bare`` also asks that no compiler can be found. The extras client and server
are needed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import deepreduce
from deepreduce import plan as plans
from deepreduce.plan.serialization import weight_tensors

TOOLS = ("cc", "c++", "gcc", "g++", "clang", "make", "cmake", "ninja", "ld")
CLASSES = ("cat", "dog", "eel", "fox")
TIMEOUT_S = 120
TIE = 0.05  # of the spread of the logits
COMMAND = [str(Path(sys.executable).with_name("deepreduce"))]


def check_environment(bare: bool) -> None:
    """Raises `AssertionError` where this is not an installation without torch (``bare``: and without a compiler)."""
    found = Path(deepreduce.__file__)
    assert found.is_relative_to(sys.prefix), f"deepreduce is imported from {found}, not from {sys.prefix}"
    assert importlib.util.find_spec("torch") is None, "torch is installed here"
    if bare:
        tools = {tool: shutil.which(tool) for tool in TOOLS}
        assert not any(tools.values()), f"there are compilers: {tools}"


def make_plan(folder: Path) -> None:
    """A plan of two convolutions and a linear layer with random weights, and four random pictures in ``samples``."""
    rng = np.random.default_rng(7)
    conv = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1, 1, 1), "groups": 1, "bias": True}
    conv |= {"weight_bits": 12, "weight_fraction": 8}
    plan = plans.Plan(
        plans.VERSION,
        plans.FixedPoint(32, 4),
        (3, 8, 8),
        (
            plans.Conv("a", ("input",), 4, **conv),
            plans.Relu("a.relu", ("a",), 8, 30, 2**20),
            plans.Conv("b", ("a.relu",), 4, **conv),
            plans.Relu("b.relu", ("b",), 8, 30, 2**20),
            plans.Flatten("flat", ("b.relu",)),
            plans.Linear("y", ("flat",), len(CLASSES), True, 12, 8),
        ),
        "y",
        "rlwe-4096",
    )
    plan = replace(plan, pictures=plans.pictures_of((3, 8, 8), (0.5,) * 3, (0.25,) * 3, CLASSES))
    weights = {
        name: rng.integers(-63, 64, shape).astype(dtype) for name, (dtype, shape) in weight_tensors(plan).items()
    }
    plans.write_plan(folder / "plan.json", plan)
    plans.write_weights(folder / "weights.safetensors", plan, weights)
    (folder / "samples").mkdir()
    for number in range(4):
        pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "samples" / f"{number}.png")


def expected(folder: Path, pictures: list[Path]) -> list[np.ndarray]:
    """Logits of the integer reference, which knows nothing of the compiled module."""
    plan = plans.read_plan(folder / "plan.json")
    weights = plans.read_weights(folder / "weights.safetensors", plan)
    found = []
    for path in pictures:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB" if plan.pictures.shape[0] == 3 else "L"), np.uint8)
        images = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)[None]
        x = plans.encode_input(plan, plans.normalized(plan, images))
        found.append(plans.decode_output(plan, plans.run(plan, weights, x)[plan.output])[0])
    return found


@contextmanager
def serving(folder: Path, place: Path) -> Iterator[tuple[str, str]]:
    """(HOST:PORT, page of counters) of a server that is ended afterwards, which must end well."""
    log = place / "server.log"
    arguments = ["serve", str(folder), "--listen", "127.0.0.1:0", "--store", str(place / "server")]
    arguments += ["--metrics", "127.0.0.1:0"]
    with log.open("w") as errors:
        process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            ready = re.fullmatch(r"serving \S+ [0-9a-f]{64} on (127\.0\.0\.1:\d+)", process.stdout.readline().strip())
            page = re.search(r"metrics=(\S+)", log.read_text())
            assert ready and page, log.read_text()
            yield ready[1], page[1]
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def ask(*arguments: str) -> str:
    """The standard output of a `deepreduce` command that must succeed."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"deepreduce {' '.join(arguments)} ended with {done.returncode}: {done.stderr}"
    return done.stdout


def check_predictions(folder: Path, place: Path) -> str:
    """Asks a server about every sample, with both protocols; what was compared, in words."""
    pictures = sorted((folder / "samples").glob("*.png"))
    assert pictures, f"{folder}/samples has no pictures: export with --samples N"
    names = plans.read_plan(folder / "plan.json").pictures.classes
    reference = expected(folder, pictures)
    with serving(folder, place) as (address, page):
        store = ("--store", str(place / "client"))
        for protocol in ("delphi", "ot"):
            ask("predict", address, "--prepare", "1", "--protocol", protocol, *store)
            answer = json.loads(ask("predict", address, *map(str, pictures), "--protocol", protocol, *store, "--json"))
            assert len(answer["predictions"]) == len(pictures)
            for entry, logits in zip(answer["predictions"], reference, strict=True):
                first = entry["classes"][0]
                assert first["class"] == names[first["index"]], entry
                if protocol == "delphi":
                    assert entry["logits"] == list(logits), (entry, logits)
                    assert first["index"] == int(np.argmax(logits)), (entry, logits)
                else:  # rounds up or down by chance: among equals another class may win
                    near = TIE * float(np.ptp(logits))
                    assert logits[first["index"]] >= logits.max() - near, (entry, logits)
        counters = urllib.request.urlopen(page, timeout=TIMEOUT_S).read().decode()
        counted = re.search(r"^deepreduce_predictions_total\S* (\S+)$", counters, re.MULTILINE)
        assert counted and float(counted[1]) == 2 * len(pictures), counters
    return f"{len(pictures)} pictures, classes {[names[int(np.argmax(one))] for one in reference]}, delphi bit for bit"


def main() -> None:
    """Prints what was checked; an `AssertionError` says what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, help="a folder of deepreduce export --samples N")
    parser.add_argument("--bare", action="store_true", help="no compiler may be on the PATH")
    options = parser.parse_args()
    check_environment(options.bare)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        os.environ.update(
            {"HOME": temporary, "XDG_DATA_HOME": f"{temporary}/data", "XDG_CONFIG_HOME": f"{temporary}/config"}
        )
        os.chdir(place)
        version = ask("--version").split()[-1]
        assert version == importlib.metadata.version("deepreduce"), version
        doctor = json.loads(ask("doctor", "--json"))
        assert "error" not in doctor["core"] and doctor["torch"] is None, doctor
        folder = options.plan
        if folder is None:
            folder = place / "plan"
            folder.mkdir()
            make_plan(folder)
        compared = check_predictions(folder.resolve(), place)
    print(f"deepreduce {version}, Python {doctor['python']}, kernels {doctor['core']['path']}: {compared}")


if __name__ == "__main__":
    main()
