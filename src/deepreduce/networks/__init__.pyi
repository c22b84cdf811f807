from .counting import Layer as Layer, NetworkCost as NetworkCost, Profile as Profile, count as count
from .features import with_features as with_features
from .layout import STEM as STEM, Layout as Layout, ReluSite as ReluSite
from .network import Network as Network
from .point import Point as Point, Term as Term, full_point as full_point, parse_point as parse_point
from .source import ModelSource as ModelSource
from .zoo.registry import ZOO as ZOO, build_zoo as build_zoo
