"""Construction of a network from its point's name."""

from __future__ import annotations

from ..errors import PointError
from ..networks.network import Network
from ..networks.point import Point, parse_point
from .elements.linearize import with_gates
from .front_padding import front_padded, without_front_padding
from .reshape import reshape
from .select import restrict


def reduce_to(model: Network, point: Point | str, *, front_padding: bool = True) -> Network:
    """Return the network that ``point`` names, made from an unreduced (or less reduced) ``model``.

    Where ReLUs are gone the zero padding moves to the front of each linear segment (`front_padded`), so that it can be
    merged exactly, unless ``front_padding`` is False. Where ``point`` says how many elements are left (``relus=...``),
    every ReLU layer has gates, all of them one: which are left is part of the weights (`linearize`).

    Raises `PointError` for a name that cannot be read or that asks for more than ``model`` has.
    """
    if isinstance(point, str):
        point = parse_point(point, model.layout.stages)
    alpha, rho = point.alpha / model.point.alpha, point.rho / model.point.rho
    if alpha > 1 or rho > 1:
        raise PointError(f"{point} is larger than {model.point}", "start from the unreduced network")
    model = without_front_padding(model)
    own_scale = Point(point.terms, model.point.alpha, model.point.rho)
    result = reshape(restrict(model, own_scale), alpha=alpha, rho=rho)
    reduced = len(result.relu_nodes()) < len(result.layout.sites)
    result = front_padded(result) if front_padding and reduced else result
    return result if point.relus is None else with_gates(result, point.relus)
