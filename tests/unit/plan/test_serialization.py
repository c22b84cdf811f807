"""plan.json and weights.safetensors: one spelling, nothing else."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from deepreduce.errors import PlanError
from deepreduce.plan import (
    Relu,
    check_weights,
    decode,
    digest,
    encode,
    pack_kept,
    read_plan,
    read_weights,
    write_plan,
    write_weights,
)
from deepreduce.plan.serialization import weight_tensors
from plan_samples import conv, plan_of, random_weights, resnet18
from random_plans import plan_with_mask


def test_plans_survive(tmp_path):
    for plan in (resnet18(), plan_with_mask()[0]):
        assert read_plan(write_plan(tmp_path / "plan.json", plan)) == plan


SPELLED_OUT = """{
  "input_shape": [
    2,
    6,
    5
  ],
  "link_rate": 1000000000,
  "ops": [
    {
      "bias": true,
      "groups": 1,
      "inputs": [
        "input"
      ],
      "kernel": [
        3,
        3
      ],
      "name": "c",
      "op": "Conv",
      "out_channels": 4,
      "padding": [
        1,
        1,
        1,
        1
      ],
      "stride": [
        1,
        1
      ],
      "weight_bits": 12,
      "weight_fraction": 8
    },
    {
      "inputs": [
        "c"
      ],
      "kept": "AQAAAAAAAAAAAAAAAAAA",
      "name": "r",
      "op": "Relu",
      "peak": 1000,
      "shift": 8,
      "window": 20
    }
  ],
  "output": "r",
  "parameter_set": "rlwe-4096",
  "pictures": null,
  "ring": {
    "input_fraction": 4,
    "ring_bits": 32
  },
  "version": 3
}
"""


def test_digest_is_the_hash_of_the_file_and_tells_plans_apart():
    plan = plan_of(conv("c", "input", 4), Relu("r", ("c",), 8, 20, 1000, pack_kept(np.arange(120) == 7)))
    assert encode(plan).decode() == SPELLED_OUT
    assert digest(plan) == hashlib.sha256(SPELLED_OUT.encode()).hexdigest()
    assert digest(replace(plan, ops=(plan.ops[0], replace(plan.ops[1], peak=1001)))) != digest(plan)


def changed(change):
    data = json.loads(encode(plan_with_mask()[0]))
    change(data)
    return (json.dumps(data, sort_keys=True, indent=2) + "\n").encode()


def test_a_plan_of_before_says_so():
    """Version 2 had no link_rate: it is its version that is named, not a missing key."""

    def before(data):
        del data["link_rate"]
        data["version"] = 2

    with pytest.raises(PlanError, match="version 2, this program reads version 3") as caught:
        decode(changed(before))
    assert "export" in caught.value.hint


def kept_op(data):
    return next(op for op in data["ops"] if op.get("kept"))


CHANGES = {
    "missing key": lambda d: d.pop("output"),
    "unknown key": lambda d: d.update(extra=1),
    "unknown key of an op": lambda d: d["ops"][0].update(extra=1),
    "missing key of an op": lambda d: d["ops"][0].pop("inputs"),
    "no op": lambda d: d["ops"][0].pop("op"),
    "unknown op": lambda d: d["ops"][0].update(op="Softmax"),
    "op as a list": lambda d: d["ops"][0].update(op=["Conv"]),
    "op as a number": lambda d: d["ops"].__setitem__(0, 3),
    "ops as an object": lambda d: d.update(ops={}),
    "ring as a number": lambda d: d.update(ring=32),
    "name as a number": lambda d: d["ops"][0].update(name=1),
    "inputs as a string": lambda d: d["ops"][0].update(inputs="input"),
    "inputs of numbers": lambda d: d["ops"][0].update(inputs=[1]),
    "float": lambda d: d.update(version=1.0),
    "bool": lambda d: d.update(version=True),
    "nan": lambda d: d.update(version=float("nan")),
    "huge": lambda d: d.update(version=10**400),
    "string": lambda d: d.update(version="1"),
    "other version": lambda d: d.update(version=4),
    "no base64": lambda d: kept_op(d).update(kept="!!!!"),
    "short mask": lambda d: kept_op(d).update(kept="AA=="),
    "mask as a list": lambda d: kept_op(d).update(kept=[1, 0]),
    "mask not ASCII": lambda d: kept_op(d).update(kept="ä"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_changed_plans_are_refused(case):
    with pytest.raises(PlanError):
        decode(changed(CHANGES[case]))


def test_the_changes_start_from_a_plan_that_is_read():
    assert decode(changed(lambda data: None)) == plan_with_mask()[0]


def test_only_the_canonical_form_is_read():
    content = encode(plan_with_mask()[0])
    other = [
        content + b" ",
        content[:-1],
        b"\xef\xbb\xbf" + content,
        json.dumps(json.loads(content)).encode(),
        content.replace(b'"version": 3', b'"version": 3,\n  "version": 3'),
        content.replace(b"32", b"3\\u0032"),
        b"",
        b"[" * 100_000,
        b"9" * 5000,
        content.replace(b'"version": 3', b'"version": ' + b"9" * 5000),
        b"\xff" + content,
    ]
    for text in other:
        with pytest.raises(PlanError):
            decode(text)


def test_files_too_long_or_missing_are_refused(tmp_path, monkeypatch):
    with pytest.raises(PlanError, match="cannot be read"):
        read_plan(tmp_path / "none.json")
    path = write_plan(tmp_path / "plan.json", plan_with_mask()[0])
    monkeypatch.setattr("deepreduce.plan.serialization.MAX_PLAN_BYTES", path.stat().st_size - 1)
    with pytest.raises(PlanError, match="longer than"):
        read_plan(path)
    with pytest.raises(PlanError, match="at most"):
        decode(path.read_bytes())


def test_an_invalid_plan_is_not_written(tmp_path):
    with pytest.raises(PlanError):
        write_plan(tmp_path / "plan.json", plan_of(conv("c", "x", 4)))
    assert not list(tmp_path.iterdir())


def test_weights_survive(tmp_path):
    plan, weights = plan_with_mask()
    read = read_weights(write_weights(tmp_path / "weights.safetensors", plan, weights), plan)
    assert read.keys() == weights.keys()
    for name, tensor in weights.items():
        assert read[name].dtype == tensor.dtype
        assert np.array_equal(read[name], tensor)


PLAN = plan_of(conv("c", "input", 4, weight_bits=6), ring_bits=24)
WRONG = {
    "missing": (lambda w: w.pop("c.bias"), "c.bias is missing"),
    "foreign": (lambda w: w.update(x=np.zeros(1, np.int16)), "x belongs to no op"),
    "type": (lambda w: w.update({"c.weight": w["c.weight"].astype(np.int32)}), "int32"),
    "float": (lambda w: w.update({"c.weight": w["c.weight"].astype(np.float16)}), "float16"),
    "shape": (lambda w: w.update({"c.weight": w["c.weight"][:, :, :2]}), r"\(4, 2, 2, 3\)"),
    "weight high": (lambda w: w["c.weight"].__setitem__((0, 0, 0, 0), 32), "reaches 32"),
    "weight low": (lambda w: w["c.weight"].__setitem__((0, 0, 0, 0), -32), "reaches -32"),
    "bias high": (lambda w: w["c.bias"].__setitem__(0, 2**23), "reaches 8388608"),
    "bias low": (lambda w: w["c.bias"].__setitem__(0, -(2**63)), "reaches -9223372036854775808"),
}


@pytest.mark.parametrize("case", WRONG)
def test_weights_of_another_plan_are_refused(case, tmp_path):
    change, message = WRONG[case]
    weights = random_weights(PLAN, np.random.default_rng(0), 6)
    check_weights(PLAN, weights)
    change(weights)
    with pytest.raises(PlanError, match=message):
        write_weights(tmp_path / "w.safetensors", PLAN, weights)
    (tmp_path / "w.safetensors").write_bytes(safetensors.numpy.save(weights))
    with pytest.raises(PlanError, match=message):
        read_weights(tmp_path / "w.safetensors", PLAN)


def test_damaged_weight_files_are_refused(tmp_path):
    path = write_weights(tmp_path / "w.safetensors", PLAN, random_weights(PLAN, np.random.default_rng(0), 6))
    content = path.read_bytes()
    for damaged in (b"", content[:-1], content + b"\0", b"\xff" * 8 + content[8:], content[:20], content * 20_000):
        path.write_bytes(damaged)
        with pytest.raises(PlanError):
            read_weights(path, PLAN)


def test_weights_of_a_plan_that_looks_alike_are_refused(tmp_path):
    """Same names and shapes, another calibration: the digest in the file tells them apart."""
    plan = plan_of(conv("c", "input", 2), Relu("r", ("c",), 4, 26, 2**18))
    other = replace(plan, ops=(plan.ops[0], replace(plan.ops[1], peak=2**17)))
    weights = {name: np.ones(shape, dtype) for name, (dtype, shape) in weight_tensors(plan).items()}
    path = write_weights(str(tmp_path / "weights.safetensors"), plan, weights)
    assert read_weights(str(path), plan).keys() == weights.keys()
    with pytest.raises(PlanError, match="was exported with the plan"):
        read_weights(path, other)
