"""State of reading an ONNX file: its values, constants and the torch modules made so far."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ...errors import DeepReduceError, ModelError, one_line
from .limits import LARGEST_SIDE, MAX_CONSTANT, MAX_VALUES, folded_size, module_size

if TYPE_CHECKING:
    import onnx

Array: TypeAlias = NDArray[Any]


Shape: TypeAlias = tuple[int, int, int]


TAILS = {"Softmax", "LogSoftmax", "ArgMax", "Cast", "ZipMap", "Hardmax", "TopK"}


BEHIND = TAILS | {"ArrayFeatureExtractor", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten", "LabelEncoder"}


CHANNELS_FIRST = {"Conv", "BatchNormalization", "AveragePool", "MaxPool", "GlobalAveragePool"}


DEFAULT_SIDE = 32  # of an image whose size the file leaves open


@dataclass(frozen=True)
class OnnxNetwork:
    """A module [n, C, H, W] -> [n, classes], the tensor of the file that its answer is, and sentences for the user.

    ``file_shape`` is the shape of the file's input for one image: ``input_shape``, or (H, W, C), or (features,).
    """

    module: nn.Module
    input_shape: Shape
    file_shape: tuple[int, ...]
    logits: str
    notices: tuple[str, ...]


class Builder:
    """Builder of the graph: every tensor is a constant, a node of the graph, or something behind the logits."""

    def __init__(self, model: onnx.ModelProto, path: Path, input_shape: Shape | None) -> None:
        from onnx import numpy_helper

        self.model, self.path = model, path
        self.root, self.graph = nn.Module(), fx.Graph()
        self.constants: dict[str, Array] = {}
        for tensor in model.graph.initializer:
            try:
                self.constants[tensor.name] = numpy_helper.to_array(tensor)
            except Exception as error:  # whatever sizes and types that its bytes are not of lead to
                raise ModelError(
                    f"{path.name}: the constant {tensor.name!r:.80} cannot be read: {one_line(error):.150}",
                    "export it again",
                ) from error
        self.nodes: dict[str, fx.Node] = {}
        self.behind: dict[str, tuple[str, onnx.NodeProto]] = {}  # to the logits' name, and the first node behind them
        self.examples: dict[fx.Node, Tensor] = {}  # of every node's shape for one image, but without memory of its own
        self.folded = 0  # values of constants that others made
        self.order: dict[fx.Node, Array] = {}  # of a flattened map's values, where the file has another
        self.channels_last: set[str] = set()  # tensors that the file has as (n, H, W, C), held here as (n, C, H, W)
        self.notices: list[str] = []
        self.readers: dict[str, int] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers[name] = self.readers.get(name, 0) + 1
        for output in model.graph.output:
            self.readers[output.name] = self.readers.get(output.name, 0) + 1
        self._input(input_shape)

    def add(self, node: onnx.NodeProto) -> None:
        """Read one node."""
        try:
            self._add(node)
        except DeepReduceError:
            raise
        except Exception as error:  # whatever attributes and inputs that ONNX does not know lead to
            raise self.refused(
                node,
                f"its inputs or attributes are not as ONNX has them: {type(error).__name__} {one_line(error):.150}",
            ) from error

    def _add(self, node: onnx.NodeProto) -> None:
        from .operators import HANDLERS

        inputs = [name for name in node.input if name]
        if any(name in self.behind for name in inputs):
            self._behind(node, inputs)
        elif all(name in self.constants for name in inputs):
            self._fold(node)
        elif node.op_type == "Shape":
            self.constants[node.output[0]] = np.array(self.file_shape_of(inputs[0]), dtype=np.int64)
        elif node.op_type == "Cast" and _to_real(node):
            self.alias(node)
        elif node.op_type in TAILS:
            self.behind[node.output[0]] = inputs[0], node
            for extra in node.output[1:]:
                self.behind[extra] = inputs[0], node
        elif node.op_type in CHANNELS_FIRST and inputs[0] in self.channels_last:
            raise self.refused(node, "a Transpose to channels first must stand before it")
        elif node.op_type in HANDLERS:
            HANDLERS[node.op_type](self, node)
        else:
            raise self.refused(node, f"plans have {', '.join(sorted(HANDLERS))}")

    def finish(self) -> OnnxNetwork:
        """Return the module, when all nodes have been read."""
        answers = {self.behind[o.name][0] if o.name in self.behind else o.name for o in self.model.graph.output}
        if len(answers) != 1:
            raise ModelError(
                f"{self.path.name} answers with {len(answers)} values: {', '.join(sorted(answers))}", "keep one"
            )
        logits = answers.pop()
        if logits not in self.nodes:
            raise ModelError(f"{self.path} answers with a constant", "export the network with its input")
        stripped = [node for source, node in self.behind.values() if source == logits]
        if stripped:
            kinds = ", ".join(dict.fromkeys(node.op_type for node in stripped))
            self.notices.append(f"left out behind the logits: {kinds}; the client does that itself")
        result = self.nodes[logits]
        if self.examples[result].ndim == 4 and self.examples[result].shape[2:] == (1, 1):
            result = self.call(torch.flatten, result, 1)
        self.graph.output(result)
        module = fx.GraphModule(self.root, self.graph)
        module.graph.eliminate_dead_code()
        module.recompile()
        module.delete_all_unused_submodules()
        return OnnxNetwork(module.eval(), self.input_shape, self.file_shape, logits, tuple(self.notices))

    def value(self, node: onnx.NodeProto, index: int = 0) -> fx.Node:
        """Return the input of ``node`` at ``index``, which must depend on the image."""
        found = self._known(node, index)
        if found in self.order and node.op_type not in {"Gemm", "MatMul"}:
            raise self.refused(node, "a map flattened channels last must go into a linear layer at once")
        return found

    def constant(self, node: onnx.NodeProto, index: int, default: Array | None = None) -> Array | None:
        """Return the input of ``node`` at ``index``, which must not depend on the image; the default where it is left
        out.
        """
        if index >= len(node.input) or not node.input[index]:
            return default
        if node.input[index] not in self.constants:
            raise self.refused(node, f"its input {node.input[index]!r} must be constant")
        return self.constants[node.input[index]]

    def module(self, node: onnx.NodeProto, module: nn.Module, *inputs: fx.Node) -> fx.Node:
        """Call a new module, named as the node is, on ``inputs``."""
        if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
            raise self.refused(node, "its weights are not finite")
        self.check_size(node, module_size(module, [tuple(self.examples[i].shape) for i in inputs]))
        module.eval().requires_grad_(True)
        name = self._free_name(node)
        self.root.add_module(name, module)
        made = self.graph.call_module(name, inputs)
        self._try(node, made, lambda: module(*(self.examples[i] for i in inputs)))
        return made

    def call(self, function: Callable[..., Any], *arguments: Any, node: onnx.NodeProto | None = None) -> fx.Node:
        """Call a function on nodes and constants."""
        made = self.graph.call_function(function, arguments)
        self._try(node, made, lambda: function(*fx.map_arg(arguments, lambda n: self.examples[n])))
        return made

    def put(self, node: onnx.NodeProto, value: fx.Node, channels_last: bool = False) -> None:
        """``value`` is what ``node`` computes."""
        self.nodes[node.output[0]] = value
        if channels_last:
            self.channels_last.add(node.output[0])

    def alias(self, node: onnx.NodeProto) -> None:
        """``node`` computes what it is given."""
        self.nodes[node.output[0]] = self._known(node)
        if node.input[0] in self.channels_last:
            self.channels_last.add(node.output[0])

    def read_once(self, value: fx.Node) -> bool:
        """Return whether there is one reader of a node's value, under whichever of its names, so that it may be
        changed.
        """
        return all(self.readers.get(name) == 1 for name, node in self.nodes.items() if node is value)

    def shape(self, value: fx.Node) -> tuple[int, ...]:
        """Return the shape of a node's value, without the images' dimension."""
        return tuple(self.examples[value].shape[1:])

    def file_shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape that the file's tensor has for one image, its dimension included."""
        shape = self.shape(self.nodes[name])
        if name in self.channels_last:
            shape = (*shape[1:], shape[0])
        return (1, *self.file_shape) if self.nodes[name].op == "placeholder" else (1, *shape)

    def refused(self, node: onnx.NodeProto, hint: str) -> ModelError:
        """Return an error that names the node."""
        name = node.name or (node.output[0] if node.output else "?")
        return ModelError(f"{self.path.name}: {node.op_type} (node {name!r}) cannot be put into a plan", hint)

    def _known(self, node: onnx.NodeProto, index: int = 0) -> fx.Node:
        name = node.input[index]
        if name not in self.nodes:
            raise self.refused(node, f"its input {name!r} must depend on the image")
        return self.nodes[name]

    def _input(self, wanted: Shape | None) -> None:
        given = [i for i in self.model.graph.input if i.name not in self.constants]
        if len(given) != 1:
            raise ModelError(f"{self.path} has {len(given)} inputs", "it must take one tensor of images")
        dims = [d.dim_value if d.HasField("dim_value") else 0 for d in given[0].type.tensor_type.shape.dim]
        if len(dims) not in (2, 4) or dims[0] not in (0, 1):
            raise ModelError(
                f"{self.path}: the input has the shape {dims} (0: open)",
                "export it for [n, C, H, W] or [n, features], with an open batch dimension or a batch of 1",
            )
        last = len(dims) == 4 and self._is_channels_last(given[0].name)
        sides = [*dims[1:], 1, 1] if len(dims) == 2 else [dims[3], *dims[1:3]] if last else dims[1:]
        if wanted is not None:
            for side, other in zip(sides, wanted, strict=True):
                if side not in (0, other):
                    raise ModelError(f"{self.path} takes images of {_by(sides)}, not {_by(wanted)}", "0 means open")
            sides = list(wanted)
        if not sides[0]:
            raise ModelError(f"{self.path} leaves the number of channels open", "give `input_shape` CxHxW")
        channels, height, width = (side or DEFAULT_SIDE for side in sides)
        if not all(0 < side <= LARGEST_SIDE for side in (channels, height, width)) or (
            channels * height * width > MAX_VALUES
        ):
            raise ModelError(
                f"{self.path} takes images of {_by((channels, height, width))}",
                f"at most {MAX_VALUES} values are known",
            )
        self.input_shape = channels, height, width
        self.file_shape = (channels,) if len(dims) == 2 else (height, width, channels) if last else self.input_shape
        image = self.graph.placeholder("images")
        self.examples[image] = torch.zeros(()).expand(1, *self.input_shape)
        self.nodes[given[0].name] = self.call(torch.flatten, image, 1) if len(dims) == 2 else image
        if last:
            self.channels_last.add(given[0].name)

    def _is_channels_last(self, name: str) -> bool:
        readers = [node for node in self.model.graph.node if name in node.input and node.op_type != "Shape"]
        permutations = [list(a.ints) for n in readers if n.op_type == "Transpose" for a in n.attribute]
        return bool(readers) and len(permutations) == len(readers) and all(p == [0, 3, 1, 2] for p in permutations)

    def _behind(self, node: onnx.NodeProto, inputs: list[str]) -> None:
        """A node that reads something behind the logits must stand behind them, too."""
        sources = {self.behind[name][0] for name in inputs if name in self.behind}
        first = next(self.behind[name][1] for name in inputs if name in self.behind)
        if any(name in self.nodes for name in inputs) or len(sources) > 1 or node.op_type not in BEHIND:
            raise self.refused(first, "it may stand behind the logits only: plans have ReLUs and linear operations")
        for name in node.output:
            self.behind[name] = sources.copy().pop(), node

    def _fold(self, node: onnx.NodeProto) -> None:
        """Compute what depends on constants alone."""
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        arrays = [self.constants[name] for name in node.input if name]
        try:
            size = folded_size(node, arrays)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise self.refused(node, f"its constants cannot be computed: {one_line(error):.150}") from error
        if size is None:
            raise self.refused(node, "its inputs are constants: simplify the file, so that its result is one, too")
        self.folded += size
        self.check_size(node, self.folded, MAX_CONSTANT)
        inputs = [helper.make_tensor_value_info(n, 0, None) for n in dict.fromkeys(node.input) if n]
        outputs = [helper.make_tensor_value_info(n, 0, None) for n in node.output if n]
        model = helper.make_model(
            helper.make_graph([node], "constants", inputs, outputs), opset_imports=self.model.opset_import
        )
        try:
            found = ReferenceEvaluator(model).run(None, {i.name: self.constants[i.name] for i in inputs})
        except Exception as error:
            raise self.refused(node, f"its constants cannot be computed: {one_line(error):.150}") from error
        for info, array in zip(outputs, found, strict=True):
            self.constants[info.name] = np.asarray(array)

    def check_size(self, node: onnx.NodeProto, size: int, most: int = MAX_VALUES) -> None:
        """Raises `ModelError` unless a result of so many values may be made."""
        if not 0 <= size <= most:
            raise self.refused(node, f"it makes {size} values, at most {most} are known")

    def _try(self, node: onnx.NodeProto | None, made: fx.Node, compute: Callable[[], Tensor]) -> None:
        try:
            with torch.no_grad():
                found = compute()
            self.examples[made] = found.new_zeros(()).expand(found.shape)
        except Exception as error:
            if node is None:
                raise
            raise self.refused(node, f"torch: {one_line(error):.150}") from error

    def _free_name(self, node: onnx.NodeProto) -> str:
        name = re.sub(r"\W+", "_", node.name or node.output[0]).strip("_")[:80] or node.op_type.lower()
        if not name[0].isalpha() or hasattr(nn.Module, name):
            name = f"{node.op_type.lower()}_{name}"
        free, count = name, 1
        while hasattr(self.root, free):
            free, count = f"{name}_{count}", count + 1
        return free


def _to_real(node: onnx.NodeProto) -> bool:
    from onnx import TensorProto

    kinds = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
    return any(a.name == "to" and a.i in kinds for a in node.attribute)


def _by(sides: Any) -> str:
    return "x".join(map(str, sides))
