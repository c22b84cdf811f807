"""The command line on good and bad input: one line, a hint, an exit code; never a traceback."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest

from command_line import run_deepreduce
from deepreduce.train import Recipe
from small_data import write_folder

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_inspect_json_has_the_promised_keys():
    content = json.loads(run_deepreduce("inspect", "resnet18", "--json", "--no-costs").stdout)
    assert content["relus"] == 557_056
    assert content["params"] == 11_220_132
    assert list(content["stages"]) == ["stem", "S1", "S2", "S3", "S4"]
    assert content["stages"]["S2"]["relus"] == 131_072
    assert set(content["stages"]["S2"]) == {"relus", "params", "macs"}
    assert set(content["layers"][0]) == {"name", "op", "stage", "shape", "relus", "params", "macs"}
    for key in ("relus", "params", "macs"):
        assert sum(layer[key] for layer in content["layers"]) == content[key]
        assert sum(stage[key] for stage in content["stages"].values()) == content[key]


def test_inspect_shows_points_figures_and_relu6(tmp_path):
    picture = tmp_path / "f.png"
    done = run_deepreduce("inspect", "resnet18", "--point", "S2^RT+S3^RT, alpha=0.5", "--figure", picture, "--no-costs")
    assert done.returncode == 0, done.stderr
    assert "49,152" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (
        "2 ReLUs"
        in run_deepreduce("inspect", "mobilenet_v2", "--no-costs", env={**os.environ, "COLUMNS": "200"}).stdout
    )


def test_inspect_predicts_what_a_private_prediction_costs():
    narrow = ("inspect", "resnet10", "--width", "0.125", "--input", "3x16x16")
    done = run_deepreduce(*narrow)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if re.match("│ (loopback|lan|wan) ", line)]
    assert max(map(len, rows)) <= 80
    assert len(rows) == 3 and all(re.search(r"s, .*B │ .*s, .*B │ +\d+ │", row) for row in rows), done.stdout
    private = json.loads(run_deepreduce(*narrow, "--json", "--link", "200Mbit,20ms").stdout)["private"]
    (cost,) = private["costs"]
    assert private["refused"] is None and cost["link"] == "200Mbit,20ms"
    assert min(cost[f"{phase}_{unit}"] for phase in ("offline", "online") for unit in ("bytes", "seconds")) > 0


def test_inspect_counts_what_cannot_run_in_private_and_names_it(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef build():\n    layers = [nn.Conv2d(3, 2, 3), nn.ReLU(), nn.SiLU(), nn.Flatten()]\n"
        "    return nn.Sequential(*layers, nn.Linear(72, 3), nn.Softmax(1))\n"
    )
    options = ("inspect", f"{tmp_path / 'net.py'}:build", "--input", "3x8x8")
    done = run_deepreduce(*options)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "│ total │ 72 │" in said, done.stdout
    assert "cannot run in private: 2: silu cannot be put into a plan; the network has" in said
    assert "the final softmax is left out" in said
    private = json.loads(run_deepreduce(*options, "--json").stdout)["private"]
    assert private["costs"] == [] and private["refused"].startswith("2: silu cannot")
    done = run_deepreduce(*options, "--no-costs", "--link", "lan")
    assert done.returncode == 2 and "give one of them" in done.stderr


def test_the_example_network_is_inspected_by_file_and_by_module():
    by_file = run_deepreduce("inspect", f"{EXAMPLES / 'my_network.py'}:build", "--json")
    by_module = run_deepreduce("inspect", "my_network:build", "--json", cwd=EXAMPLES)
    assert by_file.returncode == 0, by_file.stderr
    first, second = json.loads(by_file.stdout), json.loads(by_module.stdout)
    assert {**first, "model": ""} == {**second, "model": ""}
    assert list(first["stages"]) == ["stem", "S1", "S2", "S3"]


USER_MODULES = {
    "raises": "def build():\n    raise RuntimeError('no license')\n",
    "syntax": "def build(:\n",
    "nothing": "def build():\n    return 3\n",
    "imports": "import not_there_at_all\n",
    "leaves": "raise SystemExit(0)\n",
    "instance": "from torch import nn\nnetwork = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.ReLU())\n",
    "boom": "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n"
    "        if isinstance(x, torch.fx.Proxy): raise ValueError('boom')\n        return x.flatten(1)\n"
    "def build():\n    return Net()\n",
    "no_relu": "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("place")
    for name, text in USER_MODULES.items():
        (path / f"{name}.py").write_text(text)
    write_folder(path / "images")
    (path / "file").write_text("")
    (path / "thesis").mkdir()
    (path / "thesis" / "thesis.tex").write_text("precious")
    return path


BAD = [
    ("inspect resnet19x", "unknown network"),
    ("inspect resnet-18", "did you mean 'resnet18'"),
    ("inspect resnet18 --input 3x33x33", "multiples of 8"),
    ("inspect resnet18 --input 32x32", "channels x height x width"),
    ("inspect resnet18 --input 0x32x32", "is not a size"),
    ("inspect resnet18 --classes 0", "at least 2"),
    ("inspect resnet18 --width -1", "width -1"),
    ("inspect resnet18 --point S7", "no stage 'S7'"),
    ("inspect resnet18 --point S2^RT+S3,alpha=3", "not in"),
    ("inspect resnet18 --stage S1", "NAME=VALUE"),
    ("inspect resnet18 --figure out.pdf", ".svg or .png"),
    ("inspect raises.py:build", "no license"),
    ("inspect syntax.py:build", "SyntaxError"),
    ("inspect nothing.py:build", "int, not an nn.Module"),
    ("inspect imports.py:build", "not_there_at_all"),
    ("inspect no_relu.py:build", "no ReLU"),
    ("inspect instance.py:network", "is a module, not a factory"),
    ("inspect boom.py:build", "ValueError: boom (boom.py:5)"),
    ("inspect missing.py:build", "does not exist"),
    ("inspect raises.py:biuld", "did you mean 'build'"),
    ("inspect raises.py", "path/to/file.py:factory"),
    ("inspect nowhere.module:build", "no module"),
    ("search resnet6 --data digitz", "did you mean 'digits'"),
    ("search resnet6 --data folder:missing", "missing"),
    ("search resnet6 --epochs 0", "epochs 0"),
    ("search resnet6 --epochs -5", "epochs -5"),
    ("search resnet6 --epochs many", "integer"),
    ("search resnet6 --recipe papre", "did you mean 'paper'"),
    ("search resnet6 --set cutmx=1", "did you mean 'cutmix'"),
    ("inspect leaves.py:build", "SystemExit"),
    ("inspect resnet18 --input 3x80000x80000", "too large"),
    ("inspect resnet18 --classes 99999999999", "too large"),
    ("search resnet6 --seed 99999999999999999999", "seed"),
    ("search resnet6 --jobs 0", "--jobs 0"),
    ("search resnet6 --device cuda:77", "no device"),
    ("search resnet6 --alpha 0", "alpha 0"),
    ("search resnet6 --data folder:images --out thesis", "holds no search"),
    ("search resnet6 --data folder:images --out file/below", "cannot be used"),
    ("search no_relu.py:build --data folder:images", "cannot take 1x8x8 images"),
    ("report missing", "no folder"),
    ("export resnet18 --calibration x.npy --samples 3", "test pictures of --data"),
    ("report thesis", "holds no search"),
]


@pytest.mark.parametrize(("line", "says"), BAD, ids=[line for line, _ in BAD])
def test_bad_input(place, line, says):
    done = run_deepreduce(*line.split(), cwd=place)
    text = " ".join(done.stderr.split())
    assert done.returncode not in (0, 70), text
    assert says in text
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) <= 8
    assert (place / "thesis" / "thesis.tex").read_text() == "precious"


def test_help_lists_every_setting_of_the_recipe():
    from deepreduce.cli.commands.search import SETTINGS

    listed = {part.split(" (")[0].strip() for part in re.sub(r"\([^)]*\)", "", SETTINGS).split(",")}
    own_options = {"name", "epochs", "batch_size", "learning_rate"}
    assert listed == {field.name for field in dataclasses.fields(Recipe)} - own_options


def test_debug_shows_the_traceback(place):
    assert "Traceback" in run_deepreduce("--debug", "inspect", "raises.py:build", cwd=place).stderr


def test_former_names_of_options_work_and_warn(tmp_path):
    """--network is a link's former option."""
    for former in (("--network", "nowhere"), ("--network=nowhere",)):
        done = run_deepreduce("bench", "resnet6", *former)
        assert done.returncode == 2 and "--network is called --link now" in done.stderr
        assert "nowhere" in done.stderr
    assert "called" not in run_deepreduce("bench", "resnet6", "--link", "nowhere").stderr
    assert "--network" not in run_deepreduce("bench", "--help").stdout
