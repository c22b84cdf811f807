"""A table as Markdown: one part for each heading, the paper's number beside ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..latency import MEANING
from ..provenance import provenance_lines
from ..statistics import SeedSummary
from .view import CellView, RankingView, RowView, TableView

NOT_RUN = "not run"
STATISTICS = (
    "`test` is read once, at the epoch that did best on validation images, and averaged over the seeds; ± is half "
    "of the 95 % interval of Student's t (none for one seed). The difference is ours less the paper's."
)
OTHER_SCALE = (
    "**These networks are smaller and trained more briefly than the paper's: the differences from its numbers measure "
    "the scale, not the method. What this scale can show is how its networks compare with each other.**"
)


def table_markdown(view: TableView, provenance: dict[str, Any]) -> str:
    """Return the whole page."""
    lines = [f"# {view.table.title}", "", f"{view.table.source}.", "", *provenance_lines(provenance), ""]
    lines += [STATISTICS, ""] + ([] if view.comparable else [OTHER_SCALE, ""])
    if any(row.latency is not None for row in view.rows):
        lines += [MEANING, ""]
    for column in view.table.columns:
        shown = [row for row in view.rows if row.cell(column) is not None or not row.cells]
        if any(row.cell(column) is not None for row in shown):
            lines += [f"## {column}", "", *_part(column, shown, view.comparable), ""]
    if view.rankings:
        lines += ["## Order of the stages, from least to most critical", "", *_rankings(view.rankings), ""]
    notes = [_escaped(f"{_label(row)}: {note}.") for row in view.rows for note in row.notes]
    lines += ["## Notes", "", *(f"* {note}" for note in (*map(_escaped, view.table.notes), *dict.fromkeys(notes))), ""]
    return "\n".join(lines)


def _part(column: str, rows: Sequence[RowView], comparable: bool) -> list[str]:
    cells = {id(row): row.cell(column) or CellView(column, None, None, None) for row in rows}
    difference = "difference" if comparable else "difference (other scale)"
    fields: list[tuple[str, Callable[[RowView], str]]] = [
        ("ReLUs, paper", lambda row: row.printed_relus or "-"),
        ("ReLUs, ours", lambda row: "-" if row.relus is None else f"{row.relus:,}"),
    ]
    if any(row.printed_macs for row in rows):
        fields.append(("FLOPs, paper", lambda row: row.printed_macs or "-"))
        fields.append(("MACs, ours", lambda row: "-" if row.macs is None else f"{row.macs / 1e6:.1f}M"))
    fields += [
        ("paper %", lambda row: _number(cells[id(row)].paper)),
        ("test %", lambda row: _test(cells[id(row)])),
        (difference, lambda row: _number(cells[id(row)].difference, "+.2f")),
        ("validation %", lambda row: _validation(cells[id(row)])),
        ("seeds", lambda row: _seeds(cells[id(row)])),
    ]
    if any(cell.ours is not None and cell.ours.best_test is not None for cell in cells.values()):
        fields.append(("best test % of any epoch", lambda row: _best(cells[id(row)])))
    if column == "with KD" and any(row.stage for row in rows):
        fields.append(("C_k, paper", lambda row: _number(row.printed_criticality)))
        fields.append(("C_k, ours", lambda row: "-" if row.criticality is None else _summary(row.criticality)))
    if any(row.printed_latency_s is not None for row in rows):
        fields.append(("s, paper", lambda row: "-" if row.printed_latency_s is None else f"{row.printed_latency_s:g}"))
        fields += [("s online + offline, predicted", _ot), ("the same with `delphi`", _delphi)]
    lines = [_line(["network", *(name for name, _ in fields)]), _line(["---", *("---:" for _ in fields)])]
    for heading, members in _grouped(rows).items():
        if heading:
            lines.append(_line([f"**{heading}**", *("" for _ in fields)]))
        lines += [_line([_escaped(row.label), *(value(row) for _, value in fields)]) for row in members]
    return lines


def _grouped(rows: Sequence[RowView]) -> dict[str, list[RowView]]:
    found: dict[str, list[RowView]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found


def _rankings(rankings: Sequence[RankingView]) -> list[str]:
    lines = [_line(["network", "paper", "ours", "seeds with the paper's order"]), _line(["---"] * 4)]
    for ranking in rankings:
        ours = NOT_RUN if ranking.ours is None else " < ".join(ranking.ours)
        agreeing = "-" if ranking.ours is None else f"{ranking.seeds_agreeing} of {ranking.seeds}"
        lines.append(_line([ranking.group or "all", " < ".join(ranking.paper), ours, agreeing]))
    return lines


def _label(row: RowView) -> str:
    return f"{row.group}, {row.label}" if row.group else row.label


def _escaped(text: str) -> str:
    return text.replace("*", "\\*")


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _summary(summary: SeedSummary) -> str:
    if summary.low is None or summary.high is None:
        return f"{summary.mean:.2f}"
    return f"{summary.mean:.2f} ± {(summary.high - summary.low) / 2:.2f}"


def _test(cell: CellView) -> str:
    return NOT_RUN if cell.ours is None else _summary(cell.ours.test)


def _validation(cell: CellView) -> str:
    return "-" if cell.ours is None else _summary(cell.ours.validation)


def _best(cell: CellView) -> str:
    return "-" if cell.ours is None or cell.ours.best_test is None else _summary(cell.ours.best_test)


def _seeds(cell: CellView) -> str:
    return "0" if cell.ours is None else str(cell.ours.test.n)


def _ot(row: RowView) -> str:
    return "-" if row.latency is None else f"{row.latency.ot_online_s:.3f} + {row.latency.ot_offline_s:.2f}"


def _delphi(row: RowView) -> str:
    return "-" if row.latency is None else f"{row.latency.delphi_online_s:.3f} + {row.latency.delphi_offline_s:.2f}"
