"""Mutations that keep a form: JSON stays JSON, ONNX stays a protobuf, a safetensors file keeps its header's length.

Bytes that are changed blindly nearly always fail at the first check; these reach the ones behind it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from fuzz.target import Mutator

NUMBERS = (0, 1, -1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 255, 256, 1 << 15, 1 << 20, 1 << 31, 1 << 32, 1 << 63, 10**40)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "x",
    "input",
    "\ud800",
    "\0",
    0.5,
    -1e308,
    [],
    {},
    [[]],
    [1, 2],
    10**400,
)


def json_mutator(dumps: Callable[[Any], bytes]) -> Mutator:
    """Changes values, keys and lists of a JSON text, and writes it with ``dumps``."""

    def mutate(data: bytes, random: Random) -> bytes:
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            return data
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            content = changed_json(content, random)
        return dumps(content)

    return mutate


def changed_json(content: Any, random: Random) -> Any:
    """``content`` with one change somewhere."""
    places = list(_places(content))
    if not places:
        return random.choice(VALUES)
    holder, key = random.choice(places)
    match random.randrange(7):
        case 0 | 1:
            holder[key] = random.choice(NUMBERS)
        case 2:
            holder[key] = random.choice(VALUES)
        case 3:
            other, at = random.choice(places)
            holder[key] = json.loads(json.dumps(other[at]))
        case 4:
            del holder[key]
        case 5 if isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(holder[key])))
        case 5:
            holder[f"{key}{random.randrange(9)}"] = holder[key]
        case _:
            value = holder[key]
            if isinstance(value, int):
                holder[key] = value + random.choice((-1, 1, -8, 8)) if random.random() < 0.5 else value * 2
            elif isinstance(value, str):
                at = random.randrange(len(value) + 1)
                holder[key] = value[:at] + random.choice(("", "x", "A", "=", "/", "\n", value)) + value[at + 1 :]
    return content


def safetensors_mutator(data: bytes, random: Random) -> bytes:
    """Changes the header of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return data
    text = json.dumps(changed_json(header, random)).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def onnx_mutator(data: bytes, random: Random) -> bytes:
    """Changes nodes, attributes, shapes and constants of an ONNX file."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return data
    for _ in range(random.choice((1, 1, 2, 4))):
        _change_model(model, random)
    return bytes(model.SerializeToString())


OPERATORS = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Conv",
    "Div",
    "Dropout",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Squeeze",
    "Sub",
    "Sum",
    "Transpose",
    "Unsqueeze",
    "Softmax",
    "Shape",
    "Constant",
    "ConstantOfShape",
    "Gather",
    "Expand",
    "Range",
    "Tile",
    "Cast",
    "ZipMap",
    "Slice",
    "Einsum",
    "Loop",
    "If",
]
ATTRIBUTES = [
    "kernel_shape",
    "strides",
    "pads",
    "dilations",
    "group",
    "axis",
    "axes",
    "alpha",
    "beta",
    "transA",
    "transB",
    "perm",
    "auto_pad",
    "ceil_mode",
    "keepdims",
    "epsilon",
    "mode",
    "count_include_pad",
    "value",
    "to",
    "min",
    "max",
]


def _change_model(model: Any, random: Random) -> None:
    from onnx import helper

    graph = model.graph
    nodes, tensors = list(graph.node), list(graph.initializer)
    names = [name for node in nodes for name in (*node.input, *node.output)] + [t.name for t in tensors] or ["x"]
    match random.randrange(8):
        case 0 if nodes:
            random.choice(nodes).op_type = random.choice(OPERATORS)
        case 1 if nodes:
            node = random.choice(nodes)
            if node.input and random.random() < 0.7:
                node.input[random.randrange(len(node.input))] = random.choice((*names, ""))
            elif node.input and random.random() < 0.5:
                node.input.pop()
            else:
                node.input.append(random.choice(names))
        case 2 if nodes:
            node = random.choice(nodes)
            values = [random.choice(NUMBERS[:-1]) % (1 << 63) for _ in range(random.randrange(6))]
            number = random.choice(NUMBERS[:-1])
            value = random.choice(
                (values or [1], number - (1 << 64 if number >= 1 << 63 else 0), 0.5, float("nan"), "SAME_UPPER")
            )
            name = random.choice((*ATTRIBUTES, *(a.name for a in node.attribute)))
            for index, attribute in enumerate(node.attribute):
                if attribute.name == name:
                    del node.attribute[index]
                    break
            node.attribute.append(helper.make_attribute(name, value))
        case 3 if tensors:
            tensor = random.choice(tensors)
            if tensor.dims and random.random() < 0.6:
                tensor.dims[random.randrange(len(tensor.dims))] = random.choice(NUMBERS[:-2])
            elif tensor.dims and random.random() < 0.5:
                tensor.dims.pop()
            else:
                tensor.dims.append(random.choice((1, 2, 1 << 31)))
        case 4 if tensors:
            tensor = random.choice(tensors)
            if random.random() < 0.3:
                tensor.data_type = random.randrange(24)
            elif random.random() < 0.8:
                tensor.raw_data = random.randbytes(
                    len(tensor.raw_data) if random.random() < 0.7 else random.randrange(64)
                )
            else:
                tensor.data_location = random.randrange(3)
        case 5 if nodes:
            at = random.randrange(len(nodes))
            if random.random() < 0.5:
                del graph.node[at]
            else:
                graph.node.add().CopyFrom(nodes[at])
        case 6:
            for info in graph.input:
                for dim in info.type.tensor_type.shape.dim:
                    if random.random() < 0.4:
                        dim.dim_value = random.choice(NUMBERS[:16])
        case _:
            for info in graph.output:
                info.name = random.choice(names)
            if model.opset_import:
                model.opset_import[0].version = random.choice((7, 9, 11, 13, 17, 18, 99))


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        yield content, key
        yield from _places(value)
