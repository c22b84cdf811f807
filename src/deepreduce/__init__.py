"""deepreduce: from a network and its data to a Pareto frontier of accuracy against ReLUs, and to private predictions.

The names below load torch when they are first used, so that ``import deepreduce`` alone costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
