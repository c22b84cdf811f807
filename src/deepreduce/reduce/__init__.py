"""Pure rewrites that remove ReLUs: each takes a network and returns a new one that knows its own name."""

from .annealing import anneal_to
from .build import reduce_to
from .cull import cull
from .elements.linearize import linearize
from .elements.settings import Linearize
from .front_padding import front_padded
from .keep_blocks import keep_blocks
from .reshape import reshape
from .select import kept_sites
from .thin import thin

__all__ = [
    "Linearize",
    "anneal_to",
    "cull",
    "front_padded",
    "keep_blocks",
    "kept_sites",
    "linearize",
    "reduce_to",
    "reshape",
    "thin",
]
