"""``deepreduce export`` on good and bad input: files, facts, and one line for each mistake."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from command_line import run_deepreduce
from deepreduce.cli.commands.export import MAX_LOSS
from deepreduce.networks import ModelSource
from deepreduce.plan import read_plan, read_weights
from deepreduce.search import find_frontier, frontier
from deepreduce.train import make_recipe
from small_data import write_folder

NETWORK = f"{Path(__file__).parents[2] / 'examples' / 'my_network.py'}:build"


def run(*arguments, **options):
    return run_deepreduce("export", *arguments, **options)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "images", 120)


@pytest.fixture(scope="module")
def search(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "out"
    recipe = make_recipe("quick", epochs=1, batch_size=32, crop_padding=1)
    find_frontier(NETWORK, f"folder:{images}", out=out, recipe=recipe)
    return out


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    torch.manual_seed(0)
    network = ModelSource(NETWORK).build((1, 8, 8), 2)
    save_file({name.removeprefix("body."): tensor for name, tensor in network.state_dict().items()}, path)
    return path


def with_accuracies(search, folder, teacher, others):
    """The search's frontier, as if its networks had had these accuracies."""
    shutil.copytree(search, folder)
    content = json.loads((folder / "frontier.json").read_text())
    for network in content["networks"]:
        network["validation_accuracy"] = teacher if network["role"] == "teacher" else others
    (folder / "frontier.json").write_text(json.dumps(content))
    return folder


def test_export_says_that_nothing_was_removed(search, tmp_path):
    lossy = with_accuracies(search, tmp_path / "search", 90.0, 85.555)
    done = run(lossy, "--out", tmp_path / "plan", "--evaluate", "0")
    assert done.returncode == 0, done.stderr
    said = next(line for line in done.stdout.splitlines() if line.startswith("point:"))
    assert "nothing was removed: no reduced network is at most 1 point below" in said
    assert "--max-loss 4.45 takes it" in said
    done = run(lossy, "--out", tmp_path / "plan", "--evaluate", "0", "--max-loss", "4.45", "--json")
    assert json.loads(done.stdout)["choice"].endswith("85.56 %, the full network's is 90.00 % (-4.44 points)")


def test_options_that_pick_contradict_each_other(search, weights, images, tmp_path):
    done = run(search, "--out", tmp_path / "plan", "--point", "full", "--max-loss", "1")
    assert done.returncode == 2 and "give one of them" in done.stderr
    own = (NETWORK, "--weights", weights, "--data", f"folder:{images}", "--out", tmp_path / "plan")
    done = run(*own, "--max-loss", "1")
    assert done.returncode == 2 and "picks a network of a search" in done.stderr
    assert MAX_LOSS == frontier.MAX_LOSS, "what help says is what happens"


def test_the_smallest_network_within_a_loss(search, tmp_path):
    content = json.loads((search / "frontier.json").read_text())
    full = next(n for n in content["networks"] if n["role"] == "teacher")
    reduced = [n for n in content["networks"] if n["role"] != "teacher"]
    loss = max(0, full["validation_accuracy"] - max(n["validation_accuracy"] for n in reduced)) + 5
    done = run(search, "--out", tmp_path / "plan", "--json", "--max-loss", f"{loss:g}")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    within = [n for n in content["networks"] if n["validation_accuracy"] >= full["validation_accuracy"] - loss]
    best = min(within, key=lambda n: (n["relus"], -n["validation_accuracy"]))
    assert best["relus"] < full["relus"], "the unreduced network is not what a user of a search wants"
    assert facts["choice"].startswith(f"the fewest ReLUs at most {loss:g} points below")
    assert facts["point"] == best["name"] and facts["data"] == content["data"]["name"]
    assert facts["accuracy"]["float"] == pytest.approx(best["validation_accuracy"])
    assert facts["cost"]["relus"] == best["relus"]
    plan = read_plan(tmp_path / "plan" / "plan.json")
    read_weights(tmp_path / "plan" / "weights.safetensors", plan)
    assert plan.pictures.classes == ("horizontal", "vertical")


def test_a_network_with_weights_reduced_tuned_and_as_onnx(images, weights, tmp_path):
    pytest.importorskip("onnx")
    arguments = [NETWORK, "--weights", weights, "--data", f"folder:{images}", "--point", "S2"]
    more = ["--tune", "1", "--onnx", tmp_path / "net.onnx", "--out", tmp_path / "plan", "--evaluate", "10"]
    done = run(*arguments, *more, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    said = ("% after reduction", "% after tuning", "1 epoch ", "10 validation images", "onnxruntime's answers")
    for part in said:
        assert part in done.stdout, done.stdout
    again = run(tmp_path / "net.onnx", "--data", f"folder:{images}", "--out", tmp_path / "again", "--json")
    assert again.returncode == 0, again.stderr
    facts, first = json.loads(again.stdout), json.loads((tmp_path / "plan" / "export.json").read_text())
    assert facts["convs"]["before"] == first["convs"]["after"]
    assert any(notice.startswith("onnxruntime's logits differ by") for notice in facts["notices"])


def test_arrays(weights, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((8, 1, 8, 8)))
    arguments = [NETWORK, "--weights", weights, "--input", "1x8x8", "--calibration", tmp_path / "x.npy"]
    done = run(*arguments, "--out", tmp_path / "plan", "--json")
    assert done.returncode == 2 and "the network has" in done.stderr  # the factory's own 10 classes
    torch.save(ModelSource(NETWORK).build((1, 8, 8)).state_dict(), tmp_path / "w.pt")
    done = run(*arguments[:2], tmp_path / "w.pt", *arguments[3:], "--out", tmp_path / "plan", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["float"] is None
    assert read_plan(tmp_path / "plan" / "plan.json").pictures is None


def test_pictures_are_normalized_as_the_user_says(images, weights, tmp_path):
    own = (NETWORK, "--weights", weights, "--evaluate", "5", "--out", tmp_path / "plan", "--json")
    done = run(*own, "--data", f"folder:{images}", "--mean", "0.25", "--std", "0.5")
    assert done.returncode == 0, done.stderr
    pictures = read_plan(tmp_path / "plan" / "plan.json").pictures
    assert (pictures.mean, pictures.std) == ((2**14,), (2**15,))
    torch.save(ModelSource(NETWORK).build((1, 8, 8)).state_dict(), tmp_path / "w.pt")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8)).astype(np.uint8))
    arrays = (NETWORK, "--weights", tmp_path / "w.pt", "--input", "1x8x8", "--out", tmp_path / "plan")
    done = run(*arrays, "--calibration", tmp_path / "x.npy", "--normalize", "none")
    assert done.returncode == 0, done.stderr
    assert read_plan(tmp_path / "plan" / "plan.json").pictures.std == (2**16,)
    np.save(tmp_path / "x.npy", np.zeros((8, 1, 8, 8), np.float32))
    done = run(*arrays, "--calibration", tmp_path / "x.npy", "--normalize", "none")
    assert done.returncode == 2 and "which no normalization is for" in done.stderr
    done = run(*own, "--data", f"folder:{images}", "--normalize", "imagenet")
    assert done.returncode == 2 and "mean has 3 values, the images have 1 channel" in done.stderr


MISTAKES = {
    "no samples": (["resnet10"], "needs samples to be calibrated with", "--data NAME"),
    "no weights": (["resnet10", "--data", "digits"], "resnet10 has no weights of its own", "--weights FILE"),
    "unknown network": (["resnet99", "--data", "digits"], "unknown network 'resnet99'", "did you mean"),
    "no search": (["{tmp}"], "holds no finished search", "deepreduce search"),
    "no file": (["net.onnx", "--data", "digits"], "net.onnx cannot be read", "check the path"),
    "tuning nothing": (["resnet10", "--data", "digits", "--tune", "1"], "--tune trains a network that", "give both"),
    "unwritable": (["resnet10", "--out", "/dev/null/plan"], "/dev/null is not a folder", "another --out"),
    "evaluate": (["resnet10", "--evaluate", "some"], "'some' is not a number of images", "or all"),
    "ring": (["resnet10", "--ring-bits", "wide"], "'wide' is not a number of bits", "auto, 32 or 41"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(name, tmp_path):
    arguments, message, hint = MISTAKES[name]
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "plan")]
    done = run(*(part.format(tmp=tmp_path) for part in arguments), *out)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2 and message in lines[0] and hint in lines[1], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_random_weights_are_said(images, weights, tmp_path):
    """A factory whose builds differ has no weights of its own; one that loads them has."""
    arguments = ("--data", f"folder:{images}", "--evaluate", 5, "--out", tmp_path / "plan")
    done = run(NETWORK, *arguments)
    assert done.returncode == 2
    assert "random weights" in done.stderr and "--weights" in done.stderr and "--random-weights" in done.stderr
    assert not (tmp_path / "plan").exists()
    assert run(NETWORK, *arguments, "--random-weights").returncode == 0
    factory = tmp_path / "trained.py"
    factory.write_text(
        "import importlib.util\nfrom safetensors.torch import load_file\n"
        f"spec = importlib.util.spec_from_file_location('mine', {NETWORK.partition(':')[0]!r})\n"
        "mine = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(mine)\n"
        "def build(in_channels=3, num_classes=10):\n    network = mine.build(in_channels, num_classes)\n"
        f"    network.load_state_dict(load_file({str(weights)!r}))\n    return network\n"
    )
    done = run(f"{factory}:build", *arguments)
    assert done.returncode == 0, done.stderr


def test_a_plan_for_a_link(tmp_path):
    """Merging and ciphertexts are for it, and so are the predicted seconds; the protocol is what it prefers."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((8, 1, 8, 8)).astype(np.float32))
    torch.save(ModelSource(NETWORK).build((1, 8, 8)).state_dict(), tmp_path / "w.pt")
    arguments = (NETWORK, "--weights", tmp_path / "w.pt", "--calibration", tmp_path / "x.npy", "--input", "1x8x8")
    found = {}
    for link, rate in (("lan", 10**9), ("1Gbit,100ms", 10**9), ("50Mbit,40ms", 5 * 10**7), ("none", 10**10)):
        done = run(*arguments, "--out", tmp_path / "plan", "--link", link, "--json")
        assert done.returncode == 0, done.stderr
        assert read_plan(tmp_path / "plan" / "plan.json").link_rate == rate
        cost = json.loads(done.stdout)["cost"]
        assert cost["link"] == link
        found[link] = cost
    assert found["50Mbit,40ms"]["online_seconds"] > 0.04 * found["50Mbit,40ms"]["rounds"]
    assert found["lan"]["protocol"] == "ot"
    assert found["1Gbit,100ms"]["protocol"] == "delphi"  # few ReLUs, long round trips
    done = run(*arguments, "--out", tmp_path / "plan", "--link", "fast")
    assert done.returncode == 2
    assert "network 'fast' is not known" in done.stderr


def test_an_unknown_point(search, tmp_path):
    done = run(search, "--point", "S7", "--out", tmp_path / "plan")
    assert done.returncode == 2 and "no network 'S7' was trained" in done.stderr
    assert list(tmp_path.iterdir()) == []
