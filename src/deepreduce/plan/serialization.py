"""plan.json and weights.safetensors: one spelling each, read strictly, written whole.

The plan is canonical JSON: sorted keys, two spaces of indent, ASCII, a final newline. Whatever is not exactly the bytes
that `encode` writes for the plan it holds is refused, so that the hash of the file is the hash of the plan.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ..errors import PlanError, nearest, one_line
from ..files import parse_json, write_whole
from .schema import OPS, VERSION, Conv, FixedPoint, Linear, Op, Pictures, Plan
from .shapes import Shape, shapes
from .validation import check_types, check_version, field_types, validate, weight_shape

MAX_PLAN_BYTES = 2**26
DIGEST = "plan"  # the key of the metadata of weights.safetensors that names their plan
MAX_HEADER_BYTES = 2**21  # of a safetensors file: names, shapes and offsets of at most 2 * 4096 tensors

Weights = dict[str, NDArray[Any]]  # "<op>.weight" int16 and "<op>.bias" int64

_KINDS = {kind.__name__: kind for kind in OPS}


def encode(plan: Plan) -> bytes:
    """Return the canonical bytes of a plan. Raises `PlanError` when it is not valid."""
    validate(plan)
    return _canonical(plan)


def decode(content: bytes) -> Plan:
    """Return the plan that these canonical bytes hold. Raises `PlanError` on anything else, whatever the bytes."""
    if len(content) > MAX_PLAN_BYTES:
        raise PlanError(f"plan: {len(content)} bytes, at most {MAX_PLAN_BYTES} are read")
    try:
        data = parse_json(content, parse_float=_refuse)
    except ValueError as error:
        raise PlanError(f"plan: not the JSON of a plan: {one_line(error):.200}", "export it again") from error
    if isinstance(data, dict) and data.get("version", VERSION) != VERSION:  # whose fields are others
        check_version(data["version"])
    top = _fields(data, Plan, "plan")
    if not isinstance(top["ops"], tuple):
        raise PlanError("plan: ops is not a list", "docs/reference/plan-format.md")
    ops = tuple(_op(item, f"op {index}") for index, item in enumerate(top["ops"]))
    ring = FixedPoint(**_fields(top["ring"], FixedPoint, "ring"))
    pictures = None if top["pictures"] is None else Pictures(**_fields(top["pictures"], Pictures, "pictures"))
    plan = Plan(**{**top, "ops": ops, "ring": ring, "pictures": pictures})
    validate(plan)
    if _canonical(plan) != content:
        raise PlanError("plan: valid, but not in the canonical form", "write it with deepreduce.plan.write_plan")
    return plan


def digest(plan: Plan) -> str:
    """SHA-256 of the canonical bytes, in hexadecimal: what the parties compare and a client may pin."""
    return hashlib.sha256(encode(plan)).hexdigest()


def weights_digest(weights: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of all names, types, shapes and values, in hexadecimal.

    It is for the operator alone: who has it can confirm a guess of the weights, so no client is told.
    """
    found = hashlib.sha256()
    for name in sorted(weights):
        tensor = np.ascontiguousarray(weights[name])
        tensor = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False)
        found.update(f"{name} {tensor.dtype.name} {tensor.shape}\n".encode())
        found.update(memoryview(tensor.reshape(-1).view(np.uint8)))  # type: ignore[arg-type]
    return found.hexdigest()


def write_plan(path: Path | str, plan: Plan) -> Path:
    """Write plan.json whole or not at all. Raises `PlanError` (not valid) or `StoreError` (not writable)."""
    return write_whole(Path(path), encode(plan))


def read_plan(path: Path | str) -> Plan:
    """Read plan.json. Raises `PlanError`."""
    try:
        return decode(_read(Path(path), MAX_PLAN_BYTES))
    except PlanError as error:
        raise PlanError(f"{path}: {error.message}", error.hint) from error


def write_weights(path: Path | str, plan: Plan, weights: Mapping[str, NDArray[Any]]) -> Path:
    """Write weights.safetensors whole or not at all. Raises `PlanError` when they do not fit the plan."""
    check_weights(plan, weights)
    tensors = {name: np.ascontiguousarray(w) for name, w in weights.items()}
    return write_whole(Path(path), safetensors.numpy.save(tensors, metadata={DIGEST: digest(plan)}))


def read_weights(path: Path | str, plan: Plan) -> Weights:
    """Read weights.safetensors, which must have been written for this very ``plan``. Raises `PlanError`."""
    path = Path(path)
    expected = weight_tensors(plan)
    size = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in expected.values())
    content = _read(path, size + MAX_HEADER_BYTES)
    try:
        weights: Weights = safetensors.numpy.load(content)
        length = int.from_bytes(content[:8], "little")  # the format: a header of that length, in JSON
        belongs_to = (parse_json(content[8 : 8 + length]).get("__metadata__") or {}).get(DIGEST)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise PlanError(f"{path} holds no weights: {one_line(error):.200}", "export them again") from error
    check_weights(plan, weights)
    if belongs_to != digest(plan):
        raise PlanError(
            f"{path} was exported with the plan {belongs_to!s:.12}, this is {digest(plan):.12}",
            "use the weights that were exported with this plan",
        )
    return weights


def weight_tensors(plan: Plan) -> dict[str, tuple[np.dtype[Any], Shape]]:
    """Return every tensor that belongs to ``plan``: name to type and shape."""
    found = shapes(plan)
    tensors: dict[str, tuple[np.dtype[Any], Shape]] = {}
    for op in plan.ops:
        if isinstance(op, Conv | Linear):
            shape = weight_shape(op, found[op.inputs[0]])
            tensors[f"{op.name}.weight"] = np.dtype(np.int16), shape
            if op.bias:
                tensors[f"{op.name}.bias"] = np.dtype(np.int64), shape[:1]
    return tensors


def check_weights(plan: Plan, weights: Mapping[str, NDArray[Any]]) -> None:
    """Raise `PlanError` unless names, types, shapes and ranges are those of ``plan``."""
    expected = weight_tensors(plan)
    for name in sorted(expected.keys() ^ weights.keys()):
        wrong = "is missing" if name in expected else "belongs to no op"
        raise PlanError(f"weights: {name:.150} {wrong}", "use the weights that were exported with this plan")
    bits = {f"{op.name}.weight": op.weight_bits for op in plan.ops if isinstance(op, Conv | Linear)}
    for name, (dtype, shape) in expected.items():
        tensor = weights[name]
        if tensor.dtype != dtype or tensor.shape != shape:
            raise PlanError(
                f"weights: {name} is {tensor.dtype} {tensor.shape}, the plan asks for {dtype} {shape}",
                "use the weights that were exported with this plan",
            )
        bound = 2 ** (bits.get(name, plan.ring.ring_bits) - 1)
        low, high = int(tensor.min()), int(tensor.max())
        if low <= -bound or high >= bound:
            raise PlanError(
                f"weights: {name} reaches {low if low <= -bound else high}, magnitudes below {bound} are allowed",
                "quantize with fewer bits",
            )


def _canonical(plan: Plan) -> bytes:
    pictures = None if plan.pictures is None else _json(plan.pictures)
    ops = [{"op": type(op).__name__} | _json(op) for op in plan.ops]
    data = {**_json(plan), "ring": _json(plan.ring), "ops": ops, "pictures": pictures}
    return (json.dumps(data, sort_keys=True, indent=2) + "\n").encode("ascii")


def _json(part: Plan | FixedPoint | Pictures | Op) -> dict[str, Any]:
    """Return a dataclass instance as JSON data; its nested dataclasses are left to the caller."""
    values = {name: getattr(part, name) for name in field_types(type(part))}
    return {
        name: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        for name, value in values.items()
    }


def _op(data: Any, where: str) -> Op:
    if not isinstance(data, dict) or "op" not in data:
        raise PlanError(f"{where}: no JSON object with the key 'op'", "docs/reference/plan-format.md")
    rest = {name: value for name, value in data.items() if name != "op"}
    if data["op"] not in list(_KINDS):  # a list: the value may be unhashable
        raise PlanError(f"{where}: unknown op {data['op']!r:.80}", f"known: {', '.join(sorted(_KINDS))}")
    kind = _KINDS[data["op"]]
    op: Op = kind(**_fields(rest, kind, where))
    check_types(op, where)
    return op


def _fields(data: Any, kind: type, where: str) -> dict[str, Any]:
    """Return the values of ``kind``'s fields out of JSON: exactly its keys, lists as tuples, base64 as bytes."""
    types = field_types(kind)
    if not isinstance(data, dict):
        raise PlanError(f"{where}: {data!r:.80} is not a JSON object", "docs/reference/plan-format.md")
    for name in sorted(types.keys() ^ data.keys()):
        if name in types:
            raise PlanError(f"{where}: {name} is missing", "docs/reference/plan-format.md")
        raise PlanError(f"{where}: unknown key {name!r:.80}", nearest(name, types))
    return {name: _value(data[name], hint, f"{where}: {name}") for name, hint in types.items()}


def _value(value: Any, hint: Any, where: str) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and bytes in get_args(hint):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError as error:
            raise PlanError(f"{where} is not base64: {error}", "docs/reference/plan-format.md") from error
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text:.40} is not an integer")


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror or error}", "check the path") from error
    if len(content) > most:
        raise PlanError(f"{path} is longer than the {most} bytes that are read", "check that it is the right file")
    return content
