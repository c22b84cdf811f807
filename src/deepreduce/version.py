"""The version, where anything may read it.

An installation has ``_version.py``, written from the tag when it was built (pyproject.toml); the source tree, run as it
is, has none. An editable installation keeps the version that it was made at.
"""

try:
    from ._version import VERSION
except ImportError:
    VERSION = "0.1.0.dev0+source"

__version__: str = VERSION
