"""Features at the end of each stage, beside the logits, for losses that compare them."""

from __future__ import annotations

import operator

from torch import Tensor, fx, nn

from ..errors import ModelError
from .network import Network, shrink
from .tracing.ops import MARGIN, REMOVED


class FeatureExtractor(nn.Module):
    """A network that answers (logits, activations), made by `with_features`; weights are the network's own."""

    def __init__(self, body: fx.GraphModule, rho: float) -> None:
        super().__init__()
        self.body = body
        self.rho = rho

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [n, classes] and an activation [n, c, h, w] per stage, of normalized images [n, c, h, w]."""
        return self.body(shrink(images, self.rho))  # type: ignore[no-any-return]  # modules answer Any


def with_features(network: nn.Module) -> FeatureExtractor:
    """``network`` (a `Network`) with the activation at the end of each stage as a further answer; nothing is copied.

    The graph is the network's, with more outputs: it costs what the network costs. A stage's end is its last ReLU with
    a spatial map, whether it is there, fading or gone (then it is what that ReLU read: in a residual network the last
    block's sum). The stem, and stages without a map, have no tap. Margins of front padding are cropped off.

    Make it when the network is where it is to run: moving a module replaces its buffers. Raises `ModelError` for a
    module that was not traced.
    """
    if not isinstance(network, Network):
        raise ModelError(f"{type(network).__name__} is not a traced network: it has no stages to look at")
    graph, copied = fx.Graph(), dict[fx.Node, fx.Node]()
    logits = graph.graph_copy(network.body.graph, copied)
    maps = [_nominal(graph, node, copied[node]) for node in stage_ends(network)]
    graph.output((logits, tuple(maps)))
    body = fx.GraphModule(network.body, graph)
    return FeatureExtractor(body, network.point.rho)


def stage_ends(network: Network) -> list[fx.Node]:
    """Return the node whose value is the end of each ranked stage, in order; stages without a map [n, c, h, w] have
    none.
    """
    places = {path: node for node in network.body.graph.nodes for path in node.meta.get(REMOVED, ())}
    places |= {node.meta["path"]: node for node in network.body.graph.nodes}
    ends = []
    for stage in network.layout.ranked_stages:
        nodes = [places[site.name] for site in network.layout.of(stage) if site.name in places]
        maps = [node for node in nodes if len(node.meta["shape"] or ()) == 4]
        ends += maps[-1:]
    return ends


def _nominal(graph: fx.Graph, node: fx.Node, value: fx.Node) -> fx.Node:
    """``value``, a copy of ``node``, without its margin."""
    if MARGIN not in node.meta:
        return value
    top, bottom, left, right = node.meta[MARGIN]
    height, width = node.meta["shape"][2:]
    inside = (slice(None), slice(None), slice(top, height - bottom), slice(left, width - right))
    return graph.call_function(operator.getitem, (value, inside))
