"""Removal of single ReLUs until a budget is met: ``settings`` say how, ``scores`` rank, ``pruning`` removes."""

from .settings import Linearize

__all__ = ["Linearize"]
