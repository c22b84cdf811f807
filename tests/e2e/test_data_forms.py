"""Every entry point that takes data takes it in each form, or says which forms there are."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import deepreduce
from deepreduce.benchmark.frontier import measure_frontier, pick
from deepreduce.data import as_dataset
from deepreduce.errors import DataError
from deepreduce.export import calibration_images, export_network, export_point, tuned, write_samples
from deepreduce.networks import build_zoo
from deepreduce.networks.source import network
from deepreduce.plan import digest
from deepreduce.search import find_frontier, parse_target
from deepreduce.train import accuracy, fit, make_recipe
from deepreduce.train.augment import Normalizer
from small_data import stripes

RECIPE = make_recipe("quick", epochs=1, batch_size=16, crop_padding=1)
SPLIT = stripes(60, 0)
TORCH = TensorDataset(SPLIT.images, SPLIT.labels)
MODEL = build_zoo("resnet6", width=0.0625, input_shape=(1, 8, 8), num_classes=2)
NETWORK = network(MODEL, (1, 8, 8))
NORMALIZER = Normalizer((0.5,), (0.25,), torch.device("cpu"), channels_last=False)
NEITHER = [
    "no such data",
    3,
    None,
    [1, 2],
    Image.new("RGB", (8, 8)),
    np.zeros((4, 1, 8, 8), np.uint8),
    {"train": TORCH},
]


@pytest.fixture(scope="module")
def frontier(tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "out"
    return find_frontier(MODEL, DataLoader(TORCH, batch_size=7, shuffle=True), out=out, recipe=RECIPE)


def test_a_search_and_an_export_of_its_point_take_a_loader(frontier, tmp_path):
    assert frontier.content["data"]["name"] == "TensorDataset"
    assert sum(map(sum, frontier.content["data"]["images_per_class"].values())) == 60
    loaded = deepreduce.Frontier.load(frontier.directory, model=MODEL)
    exported = export_point(loaded, 0, data=TORCH)
    assert exported.images == len(as_dataset(TORCH).validation)
    with pytest.raises(DataError, match="is not what the search was made with"):
        export_point(loaded, 0, data=TensorDataset(SPLIT.images.flip(0), SPLIT.labels))


@pytest.mark.parametrize("data", NEITHER, ids=[type(data).__name__ for data in NEITHER])
def test_what_holds_no_data_is_refused_everywhere(frontier, tmp_path, data):
    entries = [
        lambda: find_frontier(MODEL, data, out=tmp_path / "out"),
        lambda: tuned(NETWORK, "full", data, 1),
        lambda: calibration_images(data),
        lambda: write_samples(tmp_path, data, 1),
        lambda: fit(MODEL, data, RECIPE),
        lambda: accuracy(MODEL, data, NORMALIZER),
    ]
    if data is not None:  # there it means that the data are loaded by their name
        entries.append(lambda: export_point(frontier, 0, data=data))
        entries.append(lambda: measure_frontier(frontier.directory, data=data))
        entries.append(lambda: pick(frontier.directory, [parse_target("relus<50k")], data=data))
    for entry in entries:
        with pytest.raises(DataError) as caught:
            entry()
        assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_network_is_calibrated_with_data_in_every_form():
    images = SPLIT.images[:8]
    forms = {
        "array": images.numpy(),
        "list": list(images),
        "pictures": [Image.fromarray(image[0].numpy()) for image in images],
        "data set": TensorDataset(images, SPLIT.labels[:8]),
        "loader": DataLoader(TensorDataset(images, SPLIT.labels[:8]), batch_size=3),
    }
    exported = {
        name: export_network(NETWORK, form, mean=(0.5,), std=(0.25,), evaluate=TORCH, split="test")
        for name, form in forms.items()
    }
    assert len({digest(one.plan) for one in exported.values()}) == 1
    assert exported["loader"].images == 60
    for wrong in NEITHER[:4]:
        with pytest.raises(DataError) as caught:
            export_network(NETWORK, wrong, mean=(0.5,), std=(0.25,))
        assert caught.value.hint
