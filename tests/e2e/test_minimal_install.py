"""The learning half runs from the source tree with torch, numpy, rich, typer and safetensors alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

OPTIONAL = ("sklearn", "PIL", "pooch", "matplotlib", "plotly", "jinja2", "torch_pruning")


@pytest.mark.long
def test_a_search_without_the_optional_packages(tmp_path):
    blocked = "\n".join(f"sys.modules[{name!r}] = None" for name in OPTIONAL)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{blocked}\n")
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (20, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(20) % 10
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class{k}" for k in range(10)) + "\n")
    source = Path(__file__).parents[2] / "src"
    options = {"width": "0.0625", "data": "cifar10", "epochs": "1", "jobs": "2", "out": str(tmp_path / "out")}
    arguments = ["search", "resnet6", "--json", *(part for k, v in options.items() for part in (f"--{k}", v))]
    environment = {"PYTHONPATH": f"{tmp_path}:{source}", "DEEPREDUCE_DATA": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-m", "deepreduce", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert "instead of the official 50,000" in done.stderr.replace("\n", " ")
    content = json.loads(done.stdout)
    assert len(content["networks"]) == 20
    assert content["data"]["notices"]
