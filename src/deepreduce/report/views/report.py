"""The report computed: everything the page shows, as frozen values, before anything is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import StoreError
from ..reading.records import Criticality, ReportedFailure, ReportedNetwork
from ..reading.search_folder import Curve, Rows, Search, read_curve, read_search
from .budgets import BudgetRow, compute_budgets
from .classes import ClassesView, compute_classes
from .compute import compute_rows
from .distribution import DistributionView, compute_distribution
from .frontier import FrontierView, compute_frontier, drawable
from .headline import Headline, compute_headline
from .legend import compute_legend
from .private import PrivateView, compute_private
from .published import PublishedView, compute_published
from .targets import TargetView, compute_targets


@dataclass(frozen=True)
class ReportView:
    """One search, ready to be rendered."""

    model: str
    headline: Headline
    notices: tuple[str, ...]
    failed: tuple[ReportedFailure, ...]
    frontier: FrontierView
    published: PublishedView
    budgets: tuple[BudgetRow, ...]
    private: PrivateView
    legend: Rows
    targets: tuple[TargetView, ...]
    classes: ClassesView | None
    criticality: tuple[Criticality, ...]
    distribution: DistributionView
    curves: tuple[Curve, ...]
    networks: tuple[ReportedNetwork, ...]
    search: Search

    @property
    def more_macs(self) -> bool:
        """Whether a reduced network computes more than the full one before its layers are merged."""
        return any(n.macs > self.search.profile.macs for n in self.networks if n.role != "teacher")

    @property
    def progress(self) -> str:
        """How much of an unfinished search is done; empty for a finished one."""
        return shown_progress(self.search)

    @property
    def settings(self) -> Rows:
        """Cost of the search, then its settings, one row per value, nested ones with dotted keys."""
        rows = compute_rows(self.search.effort)
        return (*rows, *(row for row in self.search.settings if row[0] not in dict(rows)))


def compute_view(directory: Path) -> ReportView:
    """Read the search folder ``directory`` and compute its report; `StoreError` names what cannot be read."""
    search = read_search(directory)
    curves, curve_notices = _curves(directory, search.networks)
    published = compute_published(search)
    frontier = compute_frontier(search.networks, others=() if published.reduced else published.places)
    private, unread = compute_private(directory, search.networks)
    if unread:
        curve_notices = (*curve_notices, f"No run (its file is missing or unreadable) for: {_listed(unread)}.")
    headline, targets = compute_headline(search), compute_targets(search.targets, search.networks)
    chosen = (*(target.network for target in reversed(targets)), headline.pick, headline.best, headline.teacher)
    classes, unread = compute_classes(directory, search, chosen)
    if unread:
        curve_notices = (*curve_notices, f"No errors by class (test.json is unreadable) for: {_listed(unread)}.")
    return ReportView(
        model=_model(search.settings),
        headline=headline,
        notices=(*search.data.notices, *_notices(search), *curve_notices),
        failed=search.failed,
        frontier=frontier,
        published=published,
        budgets=compute_budgets(search.budgets, search.networks),
        private=private,
        legend=compute_legend(search.networks),
        targets=targets,
        classes=classes,
        criticality=search.criticality,
        distribution=compute_distribution(search.profile),
        curves=curves,
        networks=tuple(sorted(search.networks, key=lambda n: (not n.on_frontier, -n.relus, n.label))),
        search=search,
    )


def _model(settings: Rows) -> str:
    """Return the network's name; settings may nest it, and a search of a user's own module may not name it at all."""
    return next((value for key, value in settings if key in ("model", "model.name")), "the network")


def shown_progress(search: Search) -> str:
    """Return how much of an unfinished search is done; empty for a finished one."""
    progress = search.progress
    if search.finished or progress is None:
        return ""
    return f"{progress.done} of {progress.trainings} trainings done"


def _notices(search: Search) -> Sequence[str]:
    notices = []
    if not search.finished:
        done = f" ({shown_progress(search)})" if search.progress else ""
        notices.append(f"The search is not finished{done}: networks are still missing, and the frontier may change.")
    if search.failed:
        jobs = "1 job" if len(search.failed) == 1 else f"{len(search.failed)} jobs"
        notices.append(f"{jobs} failed and {'is' if len(search.failed) == 1 else 'are'} missing from every picture.")
    absent = [network.label for network in search.networks if not drawable(network)]
    if absent:
        notices.append(f"Without an accuracy or without a ReLU, so not in the frontier picture: {_listed(absent)}.")
    return notices


def _curves(directory: Path, networks: Sequence[ReportedNetwork]) -> tuple[tuple[Curve, ...], tuple[str, ...]]:
    """Return every curve that can be read, and a notice for those that cannot; a missing one fails nothing."""
    curves, skipped = [], []
    for network in networks:
        try:
            curves.append(read_curve(directory, network))
        except (StoreError, OSError, ValueError, RecursionError):
            skipped.append(network.label)
    notice = f"No training curve (metrics.json is missing or unreadable) for: {_listed(skipped)}."
    return tuple(curves), (notice,) if skipped else ()


def _listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
