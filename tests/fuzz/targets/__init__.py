"""The targets, by what they read. Importing this package fills `target.TARGETS`."""

from . import files, grammars, messages, sessions, stores

__all__ = ["files", "grammars", "messages", "sessions", "stores"]
