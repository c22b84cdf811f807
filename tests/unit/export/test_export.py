"""Trained networks as plans: the accuracy that is left, the files, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from deepreduce.errors import DataError, ModelError, PointError, SettingError, StoreError
from deepreduce.export import evaluate as plans, export as exporting, export_network, export_point
from deepreduce.export.export import calibration_images, check_digest, frontier_data, spread
from deepreduce.export.folder import check_folder
from deepreduce.export.sources import load_network, read_calibration, tuned
from deepreduce.networks import ModelSource
from deepreduce.networks.weights import load_weights
from deepreduce.plan import digest, encode, read_folder, read_plan, read_weights, weights_digest
from deepreduce.reduce import reduce_to
from deepreduce.search import Frontier, find_frontier
from deepreduce.train import fit, make_recipe
from small_data import stripes, stripes_dataset, write_folder

DATA = stripes_dataset()
RECIPE = make_recipe("quick", epochs=3, batch_size=16, crop_padding=1, learning_rate=0.05)
NETWORK = f"{Path(__file__).parents[3] / 'examples' / 'my_network.py'}:build"
SOURCE = ModelSource("resnet10", 0.125)


@pytest.fixture(scope="module", params=["full", "S2^RT+S3^RT", "S3, rho=0.5"])
def trained(request):
    network = reduce_to(SOURCE.build(DATA.input_shape, 2), request.param)
    fit(network, DATA, RECIPE)
    return network.eval()


def export(network, **options):
    settings = {"mean": DATA.mean, "std": DATA.std, "classes": DATA.classes, **options}
    return export_network(network, calibration_images(DATA), **settings)


@pytest.mark.parametrize("merge", [False, True])
def test_accuracy_stays(trained, merge):
    many = stripes(400, 7)
    exported = export(trained, merge=merge, evaluate=many, split="fresh")
    assert abs(exported.difference) <= 0.3
    assert (exported.images, exported.split) == (400, "fresh")
    assert (exported.convs_after < exported.convs_before) == (merge and str(trained.point) != "stem+S1+S2+S3+S4")
    logits = plans.predictions(exported.plan, exported.weights, many.images[:50].numpy())
    from deepreduce.plan import decode_output
    from deepreduce.train.augment import Normalizer
    from deepreduce.train.evaluate import predict

    normalize = Normalizer(DATA.mean, DATA.std, torch.device("cpu"), channels_last=False)
    real = predict(trained, many.take(torch.arange(50)), normalize).numpy()
    assert np.abs(decode_output(exported.plan, logits) - real).max() < 0.03 * np.abs(real).max()


def test_the_same_network_gives_the_same_files(trained, tmp_path):
    first, second = export(trained), export(trained)
    assert encode(first.plan) == encode(second.plan)
    assert first.plan.pictures.classes == ("h", "v") and first.plan.pictures.shape == (1, 8, 8)
    files = first.write(tmp_path / "plan")
    assert [path.name for path in files] == ["plan.json", "weights.safetensors", "export.json"]
    again = [path.read_bytes() for path in files[:2]]
    assert [path.read_bytes() for path in second.write(tmp_path / "plan")[:2]] == again
    weights = read_weights(files[1], read_plan(files[0]))
    assert all(np.array_equal(weights[name], first.weights[name]) for name in weights)
    facts = json.loads(files[2].read_text())
    assert read_folder(tmp_path / "plan").weights_digest == facts["weights_digest"] == weights_digest(weights)
    assert facts["plan_digest"] == digest(first.plan)
    assert facts["convs"] == {"before": first.convs_before, "after": first.convs_after}
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


def test_nothing_half_written(tmp_path, monkeypatch):
    exported = export(SOURCE.build(DATA.input_shape, 2).eval())
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="cannot be written"):
            check_folder(out)
        with pytest.raises(StoreError, match="cannot be written"):
            exported.write(out)

    def full(*_):
        raise OSError(28, "No space left on device")

    old = exported.write(tmp_path / "plan")[0].read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"plan cannot be written: .*No space left on device.*another `out`"):
        exported.write(tmp_path / "plan")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "plan"]
    assert (tmp_path / "plan" / "plan.json").read_bytes() == old


@pytest.fixture(scope="module")
def frontier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frontier")
    images = write_folder(folder / "images", 200)
    recipe = make_recipe("quick", epochs=1, batch_size=32, crop_padding=1)
    found = find_frontier(NETWORK, f"folder:{images}", out=folder / "search", recipe=recipe, seed=3)
    return found, images


def test_points_of_a_frontier_find_their_data(frontier):
    found, _ = frontier
    exported = export_point(found, 0)
    assert exported.split == "validation" and exported.images == 20
    assert exported.source["point"] == found[0].name and exported.notices == ()
    assert exported.float_accuracy == pytest.approx(found[0].validation_accuracy, abs=0.01)
    few = export_point(found, found[-1].name, evaluate=5, split="test", merge=False)
    assert (few.images, few.split) == (5, "test")
    assert export_point(found, 0, evaluate=0).float_accuracy is None


def test_the_data_of_a_search_is_loaded_once(frontier, monkeypatch):
    """The search has written its share of validation images down; one of before is found by trying."""
    found, _ = frontier
    shares, load = [], exporting.load

    def counted(name, **settings):
        shares.append(settings["validation"])
        return load(name, **settings)

    monkeypatch.setattr(exporting, "load", counted)
    assert found.content["data"]["validation_share"] == 0.1
    assert frontier_data(found).digest == found.content["data"]["digest"] and shares == [0.1]
    data = {name: value for name, value in found.content["data"].items() if name != "validation_share"}
    before = Frontier(found.directory, {**found.content, "data": data}, NETWORK)
    assert frontier_data(before).digest == data["digest"]
    written = Frontier(found.directory, {**found.content, "data": {**data, "validation_share": 0.25}}, NETWORK)
    shares.clear()
    assert frontier_data(written).digest != data["digest"] and shares == [0.25]


def test_points_that_cannot_be_exported(frontier, tmp_path):
    found, images = frontier
    with pytest.raises(PointError, match="no network 'S9' was trained"):
        export_point(found, "S9")
    with pytest.raises(SettingError, match="unknown split 'train'"):
        export_point(found, 0, split="train")
    with pytest.raises(DataError, match=r"the data 'stripes' is not what the search was made with: its digest"):
        export_point(found, 0, data=DATA)
    check_digest(found, frontier_data(found))
    images.rename(tmp_path / "elsewhere")
    try:
        with pytest.raises(DataError, match=r"the data 'folder:.*' of the search is not there"):
            export_point(found, 0)
    finally:
        (tmp_path / "elsewhere").rename(images)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_of_a_file(tmp_path, suffix):
    from safetensors.torch import save_file

    network = SOURCE.build(DATA.input_shape, 2, seed=5)
    plain = {name.removeprefix("body."): tensor for name, tensor in network.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in plain.items()}}, path)
    else:
        save_file(plain, path)
    loaded = load_network(SOURCE, DATA.input_shape, 2, path)
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), plain.values(), strict=True))
    with pytest.raises(ModelError, match=r"is \(8,.*, the network has \(16,.*`width`"):
        load_weights(ModelSource("resnet10", 0.25).build(DATA.input_shape, 2), path)
    with pytest.raises(ModelError, match=r"has a tensor that the network lacks: 'bn1|has no '"):
        load_weights(ModelSource("vgg16", 0.125).build((1, 32, 32), 2), path)


def test_weights_that_are_none(tmp_path):
    with pytest.raises(SettingError, match="resnet10 has no weights of its own"):
        load_network(SOURCE, DATA.input_shape, 2, None)
    network = SOURCE.build(DATA.input_shape, 2)
    with pytest.raises(ModelError, match="does not exist"):
        load_weights(network, tmp_path / "none.pt")
    for name, content in (("bad.pt", b"nonsense"), ("bad.safetensors", b"\x00" * 20)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="holds no weights"):
            load_weights(network, tmp_path / name)
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")  # code: not read
    with pytest.raises(ModelError, match="holds no weights"):
        load_weights(network, tmp_path / "module.pt")


def test_tuning_keeps_the_better_network():
    full = SOURCE.build(DATA.input_shape, 2)
    fit(full, DATA, RECIPE)
    network, scores = tuned(full, "S2^RT+S3^RT", DATA, 2)
    assert set(scores) == {"reduced", "padded", "tuned"} and scores["tuned"] >= scores["padded"]
    exported = export(network, evaluate=DATA.validation)
    assert exported.float_accuracy == pytest.approx(scores["tuned"])
    with pytest.raises(SettingError, match="0 epochs"):
        tuned(full, "S2", DATA, 0)


def test_samples(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((5, 7), np.float32))
    assert read_calibration(tmp_path / "rows.npy", (7, 1, 1)).shape == (5, 7, 1, 1)
    with pytest.raises(DataError, match=r"the samples are 7, the network takes 3x8x8"):
        read_calibration(tmp_path / "rows.npy", (3, 8, 8))
    (tmp_path / "bad.npy").write_text("no")
    with pytest.raises(DataError, match="holds no array"):
        read_calibration(tmp_path / "bad.npy", (7, 1, 1))
    network = SOURCE.build(DATA.input_shape, 2)
    with pytest.raises(DataError, match="the pictures are 1x4x4, the network takes 1x8x8"):
        export_network(network, np.zeros((2, 1, 4, 4), np.uint8), mean=(0.5,), std=(0.5,))
    with pytest.raises(SettingError, match="need a mean and a std"):
        export_network(network, np.zeros((2, 1, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"the samples are float64 \(0, 1, 8, 8\).*at least one"):
        export_network(network, np.zeros((0, 1, 8, 8)))
    assert len(spread(DATA.train, 10)) == 10 and len(spread(DATA.train, None)) == len(DATA.train)
    with pytest.raises(SettingError, match="-1 images"):
        spread(DATA.train, -1)
