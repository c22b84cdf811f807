"""The paper's networks and anyone's own: built, traced, their ReLU sites found, their costs counted."""

from .counting import Layer, NetworkCost, Profile, count
from .layout import STEM, Layout, ReluSite
from .network import Network
from .point import Point, Term, full_point, parse_point
from .source import ModelSource
from .zoo.registry import ZOO, build_zoo

__all__ = [
    "STEM",
    "ZOO",
    "Layer",
    "Layout",
    "ModelSource",
    "Network",
    "NetworkCost",
    "Point",
    "Profile",
    "ReluSite",
    "Term",
    "build_zoo",
    "count",
    "full_point",
    "parse_point",
]
