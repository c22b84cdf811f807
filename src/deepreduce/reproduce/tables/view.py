"""Computation of a table: the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...search.criticality import criticality, culling_order
from ..comparison import Lookup
from ..latency import LatencyPrediction, key
from ..records import Record
from ..statistics import SeedSummary, summarize
from ..study import Context
from ..table import WITH, Cell, Row, Table, groups
from ..training import Training


@dataclass(frozen=True)
class Ours:
    """Accuracies in percent over ``seeds``.

    ``test`` is read at the epoch that did best on validation images; ``best_test`` is the best of any epoch, where that
    was noted, for comparison with papers that chose so.
    """

    seeds: tuple[int, ...]
    test: SeedSummary
    validation: SeedSummary
    best_test: SeedSummary | None


@dataclass(frozen=True)
class CellView:
    """``difference`` is our mean less the paper's number, in points."""

    column: str
    paper: float | None
    ours: Ours | None
    difference: float | None


@dataclass(frozen=True)
class RowView:
    """``printed`` are counts as the paper has them; ours are those of the scale, None where they are not known yet."""

    label: str
    group: str
    data: str
    stage: str
    printed_relus: str
    relus: int | None
    printed_macs: str
    macs: int | None
    cells: tuple[CellView, ...]
    printed_latency_s: float | None
    latency: LatencyPrediction | None
    printed_criticality: float | None
    criticality: SeedSummary | None
    notes: tuple[str, ...]

    def cell(self, column: str) -> CellView | None:
        """Return its cell under that heading."""
        return next((cell for cell in self.cells if cell.column == column), None)


@dataclass(frozen=True)
class RankingView:
    """Stages from least to most critical; ``seeds_agreeing`` of ``seeds`` have the paper's order each by itself."""

    group: str
    paper: tuple[str, ...]
    ours: tuple[str, ...] | None
    seeds: int
    seeds_agreeing: int


@dataclass(frozen=True)
class TableView:
    """``comparable`` tells whether the scale is the paper's."""

    table: Table
    comparable: bool
    rows: tuple[RowView, ...]
    rankings: tuple[RankingView, ...]

    @property
    def trained(self) -> int:
        """Cells that have at least one seed."""
        return sum(cell.ours is not None for row in self.rows for cell in row.cells)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.table.name,
            "title": self.table.title,
            "source": self.table.source,
            "comparable": self.comparable,
            "notes": list(self.table.notes),
            "rows": [asdict(row) for row in self.rows],
            "rankings": [asdict(ranking) for ranking in self.rankings],
        }


def view_table(table: Table, context: Context) -> TableView:
    """Return ``table`` with the values of the context's records."""
    stages: dict[str, SeedSummary] = {}
    rankings = []
    for ranking in table.rankings:
        rows = [row for row in groups(table.rows)[ranking.group] if row.stage and row.cells]
        by_seed = criticality_by_seed(rows, context)
        stages |= _summaries(ranking.group, by_seed)
        rankings.append(_ranking(ranking.group, ranking.paper, rows, by_seed))
    rows_seen = tuple(_row(row, context, stages.get(f"{row.group}/{row.stage}")) for row in table.rows)
    return TableView(table, context.lab.scale.comparable, rows_seen, tuple(rankings))


def criticality_by_seed(rows: Sequence[Row], context: Context) -> dict[int, dict[str, float]]:
    """C_k of every stage at each seed that all stages were distilled with (Equation 1, test accuracies)."""
    found = {}
    for seed in context.seeds:
        records = {row.stage: _distilled(row, context.lookup, seed) for row in rows}
        known = {stage: record for stage, record in records.items() if record is not None}
        if rows and len(known) == len(records):
            accuracies = {stage: record.test_accuracy for stage, record in known.items()}
            found[seed] = criticality(accuracies, {stage: record.relus for stage, record in known.items()})
    return found


def _distilled(row: Row, lookup: Lookup, seed: int) -> Record | None:
    cell = next((cell for cell in row.cells if cell.column == WITH), None)
    return None if cell is None else lookup(cell.training, seed)


def _summaries(group: str, by_seed: Mapping[int, Mapping[str, float]]) -> dict[str, SeedSummary]:
    stages = next(iter(by_seed.values()), {})
    return {f"{group}/{stage}": summarize([values[stage] for values in by_seed.values()]) for stage in stages}


def _ranking(
    group: str, paper: tuple[str, ...], rows: Sequence[Row], by_seed: Mapping[int, Mapping[str, float]]
) -> RankingView:
    stages = tuple(row.stage for row in rows)
    if not by_seed:
        return RankingView(group, paper, None, 0, 0)
    known = tuple(stage for stage in paper if stage in stages)
    means = {stage: summarize([values[stage] for values in by_seed.values()]).mean for stage in stages}
    agreeing = sum(culling_order(values, stages) == known for values in by_seed.values())
    return RankingView(group, paper, culling_order(means, stages), len(by_seed), agreeing)


def _row(row: Row, context: Context, critical: SeedSummary | None) -> RowView:
    training = row.training
    relus, macs = _counts(training, context)
    return RowView(
        label=row.label,
        group=row.group,
        data="" if training is None else training.data,
        stage=row.stage,
        printed_relus=row.relus,
        relus=relus,
        printed_macs=row.macs,
        macs=macs,
        cells=tuple(_cell(cell, context) for cell in row.cells),
        printed_latency_s=row.latency_s,
        latency=None if training is None or row.latency_s is None else context.latency.get(key(training)),
        printed_criticality=row.criticality,
        criticality=critical,
        notes=tuple(note for note in (_differs(row), row.note) if note),
    )


def _counts(training: Training | None, context: Context) -> tuple[int | None, int | None]:
    """(ReLUs, MACs); those of a pruned network are known once it was pruned, the mean of all seeds."""
    if training is None:
        return None, None
    if training.prune is None:
        cost = context.lab.cost(training)
        return cost.relus, cost.macs
    found = [record for seed in context.seeds if (record := context.lookup(training, seed)) is not None]
    if not found:
        return None, None
    return round(sum(r.relus for r in found) / len(found)), round(sum(r.macs for r in found) / len(found))


def _differs(row: Row) -> str:
    return f"the printed count is not ours: {row.differs}" if row.differs else ""


def _cell(cell: Cell, context: Context) -> CellView:
    records = [record for seed in context.seeds if (record := context.lookup(cell.training, seed)) is not None]
    if not records:
        return CellView(cell.column, cell.paper, None, None)
    best = [record.best_test for record in records if record.best_test is not None]
    ours = Ours(
        tuple(record.seed for record in records),
        summarize([record.test_accuracy for record in records]),
        summarize([record.validation_accuracy for record in records]),
        summarize(best) if best else None,
    )
    return CellView(cell.column, cell.paper, ours, None if cell.paper is None else ours.test.mean - cell.paper)
