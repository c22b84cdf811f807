"""Channel pruning, which saves multiplications and, by the way, ReLUs: the baseline of the paper's section 5.4.

Also what prunes the channels of a network that no constructor of ours can build narrower (see reshape.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx, nn

from ..errors import MissingPackageError, ModelError, SettingError, nearest, one_line
from ..networks.counting import count
from ..networks.network import Network
from ..networks.tracing.ops import module_of, relu_kind
from ..networks.tracing.shapes import BATCH
from .front_padding import is_front_padded

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
CRITERIA = ("l1", "fpgm")
TRIES = 6
CLOSE = 0.02  # of all MACs: near enough to a target


@dataclass(frozen=True)
class ChannelPruning:
    """``macs`` is the share of the multiplications that may be left, in (0, 1).

    ``criterion``: ``l1`` keeps the filters of largest sum of magnitudes (Li et al. 2017), ``fpgm`` those farthest from
    the geometric median of their layer's (He et al. 2019).
    """

    criterion: Literal["l1", "fpgm"]
    macs: float

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise SettingError(f"pruning criterion {self.criterion!r} is unknown", nearest(self.criterion, CRITERIA))
        if not 0 < self.macs < 1:
            raise SettingError(f"pruning to {self.macs:g} of the MACs", "a share between 0 and 1 is left")


def prune_channels(model: Network, pruning: ChannelPruning) -> Network:
    """Return a new network with the same share of channels pruned in every layer: ``pruning.macs`` of the MACs is left.

    Never more is left, and little less where layers are wide enough. Which channels go is decided by the weights of
    ``model``, which the others keep: prune a trained network, then train what is left. Shortcuts stay consistent.
    Raises `ModelError` for a network that cannot be pruned so far.
    """
    if is_front_padded(model):  # margins depend on sizes, and the pruner knows no pads
        raise ModelError("channels are pruned before padding moves to the front", "build it without front padding")
    whole = count(model).total.macs
    best: tuple[float, Network] | None = None
    least, most = 0.0, 1.0  # known bounds of the share of channels to keep
    keep = math.sqrt(pruning.macs)
    for _ in range(TRIES):
        narrow = _keeping(model, keep, pruning.criterion)
        left = count(narrow).total.macs / whole
        if left <= pruning.macs:
            least = keep
            best = (left, narrow) if best is None or left > best[0] else best
        else:
            most = keep
        if 0 <= pruning.macs - left <= CLOSE:
            break
        keep *= math.sqrt(pruning.macs / left)
        if not least < keep < most:
            keep = (least + most) / 2
    if best is None:
        raise ModelError(f"this network cannot be pruned to {pruning.macs:g} of its MACs", "leave more of them")
    return best[1]


def _keeping(model: Network, share: float, criterion: str) -> Network:
    body = model.copy_body().eval()
    frozen = unfreeze(body)
    importance = _importance(criterion)
    try:
        channel_pruner(body, model.body_shape, importance, 1 - share).step()
        freeze(body, frozen)
        narrow = model.with_body(body, model.point)
    except Exception as error:
        raise ModelError(f"the channels of this network cannot be pruned: {one_line(error)}") from error
    if narrow.num_classes != model.num_classes:
        raise ModelError(f"pruned, this network would answer with {narrow.num_classes} of {model.num_classes} classes")
    narrow.rebuild = None  # a constructor of ours does not know these widths
    return narrow.train(model.training)


def channel_pruner(body: fx.GraphModule, shape: tuple[int, int, int], importance: Any, ratio: float) -> Any:
    """torch-pruning's pruner of ``body`` for images of ``shape``; classes stay. Raises `MissingPackageError`."""
    return torch_pruning().pruner.BasePruner(
        body,
        torch.zeros(BATCH, *shape),
        importance=importance,
        pruning_ratio=ratio,
        ignored_layers=_classifiers(body),
    )


def torch_pruning() -> Any:
    """Return the package. Raises `MissingPackageError`."""
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingPackageError("pruning channels needs torch-pruning", "pip install 'deepreduce[search]'") from error
    return torch_pruning


def _importance(criterion: str) -> Any:
    importance = torch_pruning().importance
    return importance.FPGMImportance() if criterion == "fpgm" else importance.GroupMagnitudeImportance(p=1)


def unfreeze(body: fx.GraphModule) -> set[str]:
    """Let gradients flow everywhere, which the pruner follows; the parameters that had none before."""
    frozen = {name for name, parameter in body.named_parameters() if not parameter.requires_grad}
    body.requires_grad_(True)
    return frozen


def freeze(body: fx.GraphModule, frozen: set[str]) -> None:
    """Undo `unfreeze`."""
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(name not in frozen)


def _classifiers(body: fx.GraphModule) -> list[nn.Module]:
    """Return the layers whose outputs are classes: with weights, and followed by neither a ReLU nor another
    such layer.
    """
    found: list[nn.Module] = []
    waiting = [node for node in body.graph.nodes if node.op == "output"]
    while waiting:
        for node in waiting.pop().all_input_nodes:
            module = module_of(node)
            if isinstance(module, WEIGHTED):
                found.append(module)
            elif not relu_kind(node):
                waiting.append(node)
    return found
