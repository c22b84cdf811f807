"""Jobs on a Ray cluster, their files in a folder or at an S3 URL that all machines reach (docs/operate/cluster.md)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
