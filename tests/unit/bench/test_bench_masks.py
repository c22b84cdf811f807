"""The masks of bench/service/savings.py keep what they say, and the masked network computes what the masks say."""

import sys
from math import prod
from pathlib import Path

import numpy as np
import pytest

from deepreduce.plan import Relu, Rescale, kept_mask, predict, read_plan, shapes

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture(scope="module")
def masks():
    sys.path.insert(0, str(BENCH))
    import masks

    yield masks
    sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def lowered(masks):
    return masks.network("resnet10", 0.125, 16, 10)


@pytest.mark.parametrize("part", [1, 0.7, 0.25, 0.03])
def test_masks_keep_the_count(masks, lowered, part):
    sizes = masks.relu_shapes(lowered)
    everything = sum(map(prod, sizes.values()))
    count = round(part * everything)
    found = {way: masks.masks_of(way, sizes, count) for way in masks.WAYS}
    kept = {way: sum(int(mask.sum()) for mask in each.values()) for way, each in found.items()}
    assert kept["elements"] == count
    assert abs(kept["channels"] - count) <= max(h * w for _, h, w in sizes.values())
    assert count - min(map(prod, sizes.values())) < kept["layers"] <= count
    assert all(mask.all() or not mask.any() for mask in found["layers"].values())
    for mask in found["channels"].values():
        assert all(channel.all() or not channel.any() for channel in mask)
    again = masks.masks_of("elements", sizes, count)
    assert all(np.array_equal(again[name], mask) for name, mask in found["elements"].items())


@pytest.mark.parametrize("way", ["layers", "channels", "elements"])
def test_the_plan_keeps_what_the_masks_keep(masks, lowered, tmp_path, way):
    sizes = masks.relu_shapes(lowered)
    everything = sum(map(prod, sizes.values()))
    chosen = masks.masks_of(way, sizes, everything // 4)
    masks.write_masked(tmp_path, lowered, chosen)
    plan = read_plan(tmp_path / "plan.json")
    found, ops = shapes(plan), {op.name: op for op in plan.ops}
    for name, mask in chosen.items():
        if mask.any():
            assert isinstance(ops[name], Relu)
            assert np.array_equal(kept_mask(ops[name], prod(found[name])), mask.ravel())
        else:
            assert isinstance(ops[name], Rescale) and ops[name].shift > 0
    cost = predict(plan).total
    assert cost.relus == sum(int(mask.sum()) for mask in chosen.values())
    assert cost.relus + cost.rescales == everything
