"""Keep the ReLUs of a stage's last blocks only: the starred rows of the paper's Tables 4 and 5."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import SettingError
from ..networks.network import Network
from .select import with_terms


def keep_blocks(model: Network, stages: Iterable[str], blocks: int = 1) -> Network:
    """Return a new network in which only the last ``blocks`` blocks of ``stages`` keep their ReLUs, named ``S2*``.

    A residual block ends where branches merge. The last blocks stay because everything before them in the stage then
    becomes one linear segment. Raises `SettingError` for fewer than 1 block, `PointError` for a stage that is unknown,
    culled or has no more blocks than that.
    """
    if blocks < 1:
        raise SettingError(f"cannot keep {blocks} blocks", "cull the stage instead")
    return with_terms(model, stages, None, blocks)
