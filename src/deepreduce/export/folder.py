"""The folder of an exported plan: its files appear together, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..files import write_whole
from ..plan import FACTS_FILE, PLAN_FILE, WEIGHTS_FILE, Plan, write_plan, write_weights
from .quantization.quantize import Weights


def write_folder(folder: Path, plan: Plan, weights: Weights, facts: dict[str, Any]) -> list[Path]:
    """Write the three files beside ``folder``, then put them there. Returns their paths.

    Other files in the folder stay. Raises `StoreError` when it cannot be written; an older export is still whole then.
    """
    folder = folder.expanduser()
    scratch = folder.with_name(f".{folder.resolve().name}.{os.getpid()}.tmp")
    try:
        write_plan(scratch / PLAN_FILE, plan)
        write_weights(scratch / WEIGHTS_FILE, plan, weights)
        write_whole(scratch / FACTS_FILE, (json.dumps(facts, indent=1) + "\n").encode())
        if folder.exists():
            folder.joinpath(PLAN_FILE).unlink(missing_ok=True)  # no plan, rather than one with other weights
            for name in (FACTS_FILE, WEIGHTS_FILE, PLAN_FILE):
                (scratch / name).replace(folder / name)
        else:
            scratch.replace(folder)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error.strerror or error}", "choose another `out` folder"
        ) from error
    except StoreError as error:
        raise StoreError(f"{folder} cannot be written: {error.message}", "choose another `out` folder") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(scratch)
    return [folder / name for name in (PLAN_FILE, WEIGHTS_FILE, FACTS_FILE)]


def check_folder(folder: Path) -> None:
    """Refuse, before the work is done, what cannot become or be the folder of a plan."""
    folder = folder.expanduser()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = "not a folder" if not existing.is_dir() else "not writable"
        raise StoreError(f"{folder} cannot be written: {existing} is {reason}", "choose another `out` folder")
