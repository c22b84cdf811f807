"""A table as something that can be reproduced: it is computed, then written as JSON, Markdown and a picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...files import write_whole
from ..provenance import provenance, used
from ..study import Context
from ..table import Table
from ..training import Training
from .markdown import table_markdown
from .view import view_table


@dataclass(frozen=True)
class TableStudy:
    """``results/NAME/SCALE/NAME.json``, ``.md`` and ``.svg``."""

    table: Table

    @property
    def name(self) -> str:
        """As the table's."""
        return self.table.name

    @property
    def title(self) -> str:
        """As the table's."""
        return self.table.title

    @property
    def trainings(self) -> tuple[Training, ...]:
        """As the table's."""
        return self.table.trainings

    def write(self, results: Path, context: Context) -> list[Path]:
        """Return all files, made before the first is written. Raises `MissingPackageError` where matplotlib is
        missing.
        """
        view = view_table(self.table, context)
        wanted = [(training, seed) for training in self.trainings for seed in context.seeds]
        records = used(context.lookup, wanted)
        origin = provenance(context.lab.scale, context.seeds, context.command, context.date, records)
        files = {
            "json": (json.dumps({**origin, **view.to_json()}, indent=1, ensure_ascii=False) + "\n").encode(),
            "md": table_markdown(view, origin).encode(),
        }
        if context.figures:
            from .picture import table_picture

            files["svg"] = table_picture(view, "svg")
        folder = results / self.name / context.lab.scale.name
        return [write_whole(folder / f"{self.name}.{suffix}", content) for suffix, content in files.items()]
