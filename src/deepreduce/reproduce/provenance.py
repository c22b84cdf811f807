"""Provenance of numbers: scale, seeds, machines and versions of the records they were made from."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from .comparison import Lookup
from .records import Record
from .scale import Scale
from .training import Training


def used(lookup: Lookup, wanted: Iterable[tuple[Training, int]]) -> tuple[Record, ...]:
    """Return the records that there are of ``wanted``, each once."""
    found = {record.digest: record for t, s in wanted if (record := lookup(t, s)) is not None}
    return tuple(found.values())


def provenance(
    scale: Scale, seeds: Sequence[int], command: str, date: str, records: Sequence[Record]
) -> dict[str, Any]:
    """Return the provenance as plain data; ``environments`` are those that ``records`` were trained in."""
    names = ("hardware", "device", "threads", "torch", "deepreduce")
    environments = {tuple(getattr(record, name) for name in names) for record in records}
    return {
        "command": command,
        "date": date,
        "scale": {
            "name": scale.name,
            "description": scale.description,
            "width": scale.width,
            "shrink": scale.shrink,
            "recipe": asdict(scale.recipe),
        },
        "seeds": list(seeds),
        "trainings": len(records),
        "training_seconds": round(sum(record.seconds for record in records), 1),
        "environments": [dict(zip(names, values, strict=True)) for values in sorted(environments)],
    }


def provenance_lines(content: dict[str, Any]) -> list[str]:
    """Return the same as Markdown."""
    environments = [
        f"{e['hardware']} ({e['device']}, {e['threads']} threads), torch {e['torch']}, deepreduce {e['deepreduce']}"
        for e in content["environments"]
    ]
    scale, seeds = content["scale"], ", ".join(map(str, content["seeds"]))
    return [
        "```",
        content["command"],
        "```",
        "",
        f"Scale `{scale['name']}`: {scale['description']}. Seeds {seeds}; {content['trainings']} trainings of theirs, "
        f"{content['training_seconds'] / 3600:.1f} hours of one worker. {content['date']}; "
        f"{'; '.join(environments) or 'nothing is recorded'}.",
    ]


def today() -> str:
    """Return the date, or that of ``$SOURCE_DATE_EPOCH``, under which the same records give the same files."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None and epoch.isdigit():
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date().isoformat()
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()
