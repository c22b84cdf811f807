"""Replace every in-place operation of a traced graph by its out-of-place form, with the same meaning.

After ``F.relu_(x)`` every reader of ``x`` reads its ReLU. A rewrite that removed that node without knowing so would
change the network, and a ReLU whose result is dropped would look dead. So in-place operations become ordinary ones and
their later readers are pointed to the result; memory shared through views is refused where it matters.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from ...errors import ModelError
from .ops import IN_PLACE_OPERATORS, is_view, module_of, relu_kind

RELU_FUNCTIONS = {"relu": F.relu, "relu6": F.relu6}


def functionalize(graph: fx.Graph) -> None:
    """Rewrite ``graph`` in place; afterwards each ReLU is one ``F.relu`` or ``F.relu6`` node.

    Raises `ModelError` where an in-place operation writes through a view that is read again later.
    """
    order = {node: position for position, node in enumerate(graph.nodes)}
    # All judged before any is changed: calls of one module share its ``inplace`` flag.
    in_place = {node for node in graph.nodes if _is_in_place(node)}
    for node in list(graph.nodes):
        kind = relu_kind(node)
        if node in in_place:
            base = _tensor_argument(node)
            _refuse_shared_memory(node, base, order)
            for user in [user for user in base.users if order[user] > order[node]]:
                user.replace_input_with(base, node)
        if kind is not None:
            node.meta["from_module"] = node.op == "call_module"
            node.op, node.target = "call_function", RELU_FUNCTIONS[kind]
            node.args, node.kwargs = (_tensor_argument(node),), {}
        elif node in in_place:
            _make_out_of_place(node)


def _tensor_argument(node: fx.Node) -> fx.Node:
    found = node.args[0] if node.args else node.kwargs.get("input")
    assert isinstance(found, fx.Node)
    return found


def _is_in_place(node: fx.Node) -> bool:
    module = module_of(node)
    if module is not None:
        return bool(getattr(module, "inplace", False))
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__") and hasattr(torch.Tensor, name[:-1])
    if node.op != "call_function":
        return False
    return node.target in IN_PLACE_OPERATORS or _ends_in_place(node.target) or _arguments(node).get("inplace") is True


def _ends_in_place(target: Any) -> bool:
    name = getattr(target, "__name__", "")
    return name.endswith("_") and not name.endswith("__")


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a function call by name; nothing for built-in functions, which have no such flag."""
    try:
        return dict(inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments)  # type: ignore[arg-type]  # callable here
    except (TypeError, ValueError):
        return {}


def _make_out_of_place(node: fx.Node) -> None:
    module = module_of(node)
    if module is not None:
        setattr(module, "inplace", False)  # noqa: B010  (torch types attributes as tensors)
    elif node.op == "call_method":
        node.target = str(node.target)[:-1]
    elif node.target in IN_PLACE_OPERATORS:
        node.target = IN_PLACE_OPERATORS[node.target]
    elif _ends_in_place(node.target):
        name = node.target.__name__[:-1]  # type: ignore[union-attr]  # a function, as just tested
        counterpart = getattr(torch, name, None) or getattr(F, name, None)
        if counterpart is None:
            raise ModelError(f"the operation {node.name!r} works in place", "use its out-of-place form")
        node.target = counterpart
    else:
        _, *rest = _arguments(node).items()
        node.args, node.kwargs = (_tensor_argument(node),), {name: value for name, value in rest if name != "inplace"}


def _refuse_shared_memory(node: fx.Node, base: fx.Node, order: dict[fx.Node, int]) -> None:
    earlier = {alias for alias in _aliases(base) if order[alias] < order[node]} - {base}
    for alias in earlier:
        if any(order[user] > order[node] for user in alias.users):
            raise ModelError(
                f"the in-place {node.name!r} changes {alias.name!r}, which shares its memory and is read later",
                "use the out-of-place form (inplace=False)",
            )


def _aliases(node: fx.Node) -> set[fx.Node]:
    """Return every node that may share memory with ``node`` through a chain of views."""
    root = node
    while is_view(root) and root.all_input_nodes:
        root = root.all_input_nodes[0]
    found: set[fx.Node] = set()
    frontier: Iterable[fx.Node] = [root]
    while frontier:
        found |= set(frontier)
        frontier = {user for n in frontier for user in n.users if is_view(user)} - found
    return found
