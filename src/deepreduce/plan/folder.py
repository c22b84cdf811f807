"""The folder of an exported plan: plan.json, weights.safetensors, and export.json, which has the digests of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PlanError, one_line
from ..files import parse_json
from .schema import Plan
from .serialization import Weights, digest, read_plan, read_weights, weights_digest

PLAN_FILE, WEIGHTS_FILE, FACTS_FILE = "plan.json", "weights.safetensors", "export.json"
MAX_FACTS_BYTES = 2**26
AGAIN = "copy the whole folder again, or export it again: its files belong together"


@dataclass(frozen=True, slots=True)
class PlanFolder:
    """A plan with its weights, as they were exported together. The digest of weights is for who owns them alone."""

    path: Path
    plan: Plan
    weights: Weights
    weights_digest: str


def read_folder(path: Path | str) -> PlanFolder:
    """Read a plan's folder, or the folder of a plan.json. Raises `PlanError`, also for files of two exports."""
    path = Path(path)
    folder = path.parent if path.name == PLAN_FILE else path
    if not folder.is_dir():
        raise PlanError(f"{path} is not a plan folder", "make one with deepreduce export")
    plan = read_plan(folder / PLAN_FILE)
    weights = read_weights(folder / WEIGHTS_FILE, plan)
    found = weights_digest(weights)
    facts = _facts(folder / FACTS_FILE)
    for name, key, is_digest in ((PLAN_FILE, "plan_digest", digest(plan)), (WEIGHTS_FILE, "weights_digest", found)):
        if (expected := facts.get(key, is_digest)) != is_digest:
            raise PlanError(
                f"{folder / name} has the digest {is_digest:.12}, {FACTS_FILE} beside it says {expected!s:.12}", AGAIN
            )
    return PlanFolder(folder, plan, weights, found)


def _facts(path: Path) -> dict[str, Any]:
    """Return the content of export.json; nothing where there is none, or an earlier version wrote it."""
    try:
        with path.open("rb") as file:
            content = parse_json(file.read(MAX_FACTS_BYTES))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror or error}", "check its permissions") from error
    except ValueError as error:
        raise PlanError(f"{path} is damaged: {one_line(error):.200}", AGAIN) from error
    if not isinstance(content, dict):
        raise PlanError(f"{path} is damaged: it holds no JSON object", AGAIN)
    return content
