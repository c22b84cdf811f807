from .errors import DeepReduceError as DeepReduceError
from .export import export_network as export_network, export_point as export_point
from .networks import Network as Network, Profile as Profile, count as count
from .networks.source import network as network
from .reduce import (
    cull as cull,
    front_padded as front_padded,
    keep_blocks as keep_blocks,
    linearize as linearize,
    reduce_to as reduce_to,
    reshape as reshape,
    thin as thin,
)
from .search import Frontier as Frontier, find_frontier as find_frontier
from .version import __version__ as __version__
