"""The folder of a plan: three files that belong together, or one error that says what to do."""

import json

import numpy as np
import pytest

from deepreduce.errors import PlanError
from deepreduce.plan import Relu, digest, read_folder, weights_digest, write_plan, write_weights
from plan_samples import conv, plan_of, random_weights

PLAN = plan_of(conv("c", "input", 2), Relu("r", ("c",), 4, 26, 2**20), conv("d", "r", 1))
WEIGHTS = random_weights(PLAN, np.random.default_rng(1), bits=7)
OTHERS = random_weights(PLAN, np.random.default_rng(2), bits=7)


@pytest.fixture
def folder(tmp_path):
    write_plan(tmp_path / "plan.json", PLAN)
    write_weights(tmp_path / "weights.safetensors", PLAN, WEIGHTS)
    facts = {"format": 1, "plan_digest": digest(PLAN), "weights_digest": weights_digest(WEIGHTS)}
    (tmp_path / "export.json").write_text(json.dumps(facts))
    return tmp_path


def test_files_of_one_export(folder):
    for path in (folder, str(folder), folder / "plan.json"):
        found = read_folder(path)
        assert (found.plan, found.weights_digest) == (PLAN, weights_digest(WEIGHTS))
    for facts in ("{}", None):  # of an earlier version; without one
        (folder / "export.json").unlink()
        if facts:
            (folder / "export.json").write_text(facts)
        assert read_folder(folder).weights_digest == weights_digest(WEIGHTS)


def test_weights_of_another_export_of_the_same_plan(folder):
    """Their file names the right plan: only their own digest tells."""
    write_weights(folder / "weights.safetensors", PLAN, OTHERS)
    with pytest.raises(PlanError, match=rf"has the digest {weights_digest(OTHERS):.12}.*copy the whole folder again"):
        read_folder(folder)


@pytest.mark.parametrize("facts", ["[1]", "{", '{"plan_digest": 3}', '{"weights_digest": "0"}'])
def test_damaged_facts(folder, facts):
    (folder / "export.json").write_text(facts)
    with pytest.raises(PlanError, match=r"export\.json.*export it again"):
        read_folder(folder)


def test_the_digest_covers_names_types_shapes_and_values():
    array = np.arange(6, dtype=np.int16)
    different = [
        {"a": array},
        {"b": array},
        {"a": array.astype(np.int64)},
        {"a": array.reshape(2, 3)},
        {"a": array[::-1]},
        {"a": array, "b": array},
    ]
    assert len({weights_digest(weights) for weights in different}) == len(different)
    assert weights_digest({"a": array.astype(">i2")}) == weights_digest({"a": array})
    assert weights_digest({"b": array, "a": array}) == weights_digest({"a": array, "b": array})
