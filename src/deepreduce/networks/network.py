"""A network as the rest of the package sees it: a traced graph, its ReLU layout and what has been removed from it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from math import prod

import torch.nn.functional as F
from torch import Tensor, fx, nn

from ..errors import ModelError, SettingError
from .layout import Layout, find_layout
from .masked_relu import MaskedReLU
from .point import Point, full_point
from .tracing.activations import REMEDY, activation_name, activations_text
from .tracing.final_softmax import drop_final_softmax, left_out
from .tracing.ops import is_linear, is_max_pool, is_product, module_of, op_name, relu_kind
from .tracing.shapes import BATCH, propagate_shapes
from .tracing.trace import trace

Rebuild = Callable[[float], nn.Module]


class Network(nn.Module):
    """A classifier [n, c, h, w] -> [n, classes] whose ReLU sites are known.

    ``body`` is the traced graph, ``layout`` the ReLU sites of the *unreduced* network, ``point`` what is left of them.
    ``input_shape`` (c, h, w) is the image as the client has it; at rho < 1 the network shrinks it first, which the
    client can do before encryption. ``rebuild`` makes the same architecture with its channels scaled, where the
    architecture is ours to build. Rewrites (`deepreduce.reduce`) return new networks and leave this one alone.
    """

    def __init__(
        self,
        body: fx.GraphModule,
        layout: Layout,
        point: Point,
        input_shape: tuple[int, int, int],
        rebuild: Rebuild | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.layout = layout
        self.point = point
        self.input_shape = input_shape
        self.rebuild = rebuild

    @classmethod
    def of(
        cls,
        module: nn.Module,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        stages: Mapping[str, str] | None = None,
        rebuild: Rebuild | None = None,
        verify: bool = True,
    ) -> Network:
        """Trace ``module`` (a copy; its weights are kept) and find its stages.

        ``stages`` overrides the derived stages by name patterns (see `find_layout`). ``verify`` compares the trace with
        the module (see `trace`). A final softmax is left out, so that the network answers with logits. Raises
        `ModelError` for a module that cannot be traced or has no ReLU.
        """
        if min(input_shape) < 1:
            raise SettingError(f"input {'x'.join(map(str, input_shape))} has an empty side", "give CxHxW, as 3x32x32")
        body = trace(module, input_shape, verify)
        drop_final_softmax(body)
        layout = find_layout(body, stages)
        network = cls(body, layout, full_point(layout.stages), input_shape, rebuild)
        return network.train(module.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, classes] of normalized images [n, c, h, w]."""
        return self.body(shrink(images, self.point.rho))  # type: ignore[no-any-return]  # modules answer Any

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        output = next(node for node in self.body.graph.nodes if node.op == "output")
        return int(output.args[0].meta["shape"][1])

    @property
    def body_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of what ``body`` computes on: the input shrunk by rho."""
        return shrunk_shape(self.input_shape, self.point.rho)

    def relu_nodes(self) -> dict[str, fx.Node]:
        """Return the ReLU layers that are left: site name -> graph node, in order."""
        return {node.meta["path"]: node for node in self.body.graph.nodes if relu_kind(node)}

    def kept_elements(self) -> dict[str, Tensor]:
        """Return where single elements can be removed (`deepreduce.reduce.elements.linearize`), which are left: site ->
        bool [c, h, w].

        Sites that are not in it keep all of theirs.
        """
        gates = {name: module_of(node) for name, node in self.relu_nodes().items()}
        return {name: gate.kept.cpu() for name, gate in gates.items() if isinstance(gate, MaskedReLU)}

    @property
    def relus(self) -> int:
        """ReLUs per image, a ReLU6 counted twice: relu(x) - relu(x - 6)."""
        return sum(relu_count(node) for node in self.relu_nodes().values())

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sentences about what the module computes and this network does not."""
        name = left_out(self.body)
        what = "training and the client compute the softmax themselves"
        return () if name is None else (f"the final {name} is left out: the network answers with logits, and {what}",)

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about what is left out: of the network, and of the ReLU count."""
        return (*self.left_out, *_notices(self.body))

    def with_body(self, body: fx.GraphModule, point: Point) -> Network:
        """This network with another graph and point; shapes are those of the point's resolution."""
        network = Network(body, self.layout, point, self.input_shape, self.rebuild)
        propagate_shapes(body, network.body_shape)
        return network.train(self.training)

    def copy_body(self) -> fx.GraphModule:
        """Return a deep copy of the graph and its weights, free to be changed."""
        return copy.deepcopy(self.body)


def shrink(images: Tensor, rho: float) -> Tensor:
    """Images [n, c, h, w] averaged down to [n, c, rho h, rho w] (each output pixel is the mean of its area)."""
    if rho == 1:
        return images
    size = shrunk_shape((1, images.shape[2], images.shape[3]), rho)[1:]
    return F.adaptive_avg_pool2d(images, size)


def shrunk_shape(input_shape: tuple[int, int, int], rho: float) -> tuple[int, int, int]:
    """(c, h, w) with both sides scaled by ``rho``. Raises `SettingError` unless they stay whole."""
    channels, height, width = input_shape
    sides = height * rho, width * rho
    if not 0 < rho <= 1 or any(side < 1 or abs(side - round(side)) > 1e-6 for side in sides):
        raise SettingError(
            f"rho {rho:g} turns {height}x{width} images into {sides[0]:g}x{sides[1]:g}",
            "rho is in (0, 1] and must keep both sides whole numbers",
        )
    return channels, round(sides[0]), round(sides[1])


def relu_count(node: fx.Node) -> int:
    """ReLUs that one image costs at ``node``: its (kept) elements, twice for ReLU6, 0 if it is not a ReLU."""
    kind = relu_kind(node)
    gate = module_of(node)
    if isinstance(gate, MaskedReLU):
        return int(gate.kept.sum())
    return 0 if kind is None else elements(node) * (2 if kind == "relu6" else 1)


def elements(node: fx.Node) -> int:
    """Elements of the output of ``node`` for one image. Raises `ModelError` if it does not have one row per image."""
    total = prod(node.meta["shape"] or (0,))
    if total % BATCH:
        raise ModelError(f"the output of {node.meta['path']!r} does not have one part per image")
    return total // BATCH


def _notices(body: fx.GraphModule) -> list[str]:
    notices = []
    if replaceable := activations_text(body.graph.nodes):
        notices.append(f"not counted: {replaceable}; {REMEDY}")
    others = [
        n
        for n in body.graph.nodes
        if not (is_linear(n) or relu_kind(n) or is_max_pool(n) or activation_name(n)) or is_product(n)
    ]
    for kind in dict.fromkeys(op_name(node) for node in others):
        places = [node.meta["path"] for node in others if op_name(node) == kind]
        shown = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
        notices.append(f"{kind} ({shown}) is not counted: it is neither a ReLU nor known to be linear")
    pools = [node.meta["path"] for node in body.graph.nodes if is_max_pool(node)]
    if pools:
        notices.append(f"max-pooling ({', '.join(pools)}) costs comparisons under encryption, not counted as ReLUs")
    return notices
