"""Places of a user's own files, after the XDG base directory specification."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def data_folder() -> Path:
    """``$DEEPREDUCE_DATA``, or ``deepreduce/data`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    if configured := os.environ.get("DEEPREDUCE_DATA"):
        return Path(configured).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "deepreduce" / "data"


def store_key_file() -> Path:
    """``deepreduce/store.key`` in the user's configuration folder (``$XDG_CONFIG_HOME`` or ``~/.config``)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "deepreduce" / "store.key"


def client_store_folder() -> Path:
    """``$DEEPREDUCE_STORE``, or ``deepreduce/client`` in the user's data folder (``~/.local/share``).

    What is prepared is not a cache: it cannot be made again without the server.
    """
    if configured := os.environ.get("DEEPREDUCE_STORE"):
        return Path(configured).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "deepreduce" / "client"


def scratch_folder() -> Path:
    """``$DEEPREDUCE_SCRATCH``, or ``deepreduce-<user id>`` in the folder for temporary files: a node's copies."""
    if configured := os.environ.get("DEEPREDUCE_SCRATCH"):
        return Path(configured).expanduser().absolute()
    return Path(tempfile.gettempdir()) / f"deepreduce-{os.getuid()}"


def config_folder() -> Path:
    """``$DEEPREDUCE_CONFIG``, or ``deepreduce`` in the user's configuration folder (``~/.config``)."""
    if configured := os.environ.get("DEEPREDUCE_CONFIG"):
        return Path(configured).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "deepreduce"
