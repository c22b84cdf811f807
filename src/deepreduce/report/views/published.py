"""Published networks as they stand beside a search's: which ones, whether they may be compared, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import SettingError
from ..formatting import whole
from ..palette import PUBLISHED
from ..published import FullSize, PublishedMethod, PublishedPoint, data_sets, full_size, published, published_on
from ..reading.search_folder import Search


@dataclass(frozen=True)
class PublishedView:
    """``methods`` have points on the search's data set. ``reduced`` says in words what of the search is smaller.

    The axis of the picture is validation accuracy, while papers report test accuracy: what draws them says so.
    """

    methods: tuple[PublishedMethod, ...]
    reduced: tuple[str, ...]

    @property
    def caution(self) -> str:
        """Caution that stands beside the picture."""
        text = "Published accuracies are of test images, as their authors report them; ours are of validation images."
        if self.reduced:
            text += f" This search is smaller than theirs ({', '.join(self.reduced)}): do not compare accuracies."
        return text

    @property
    def places(self) -> tuple[tuple[float, float], ...]:
        """(ReLUs, accuracy) of every point."""
        return tuple((point.place, point.accuracy) for method in self.methods for point in method.points)

    def label(self, method: PublishedMethod) -> str:
        """Return what the legend says."""
        return f"{method.name} ({method.venue}, published{' at full size' if self.reduced else ''})"


NOTHING = PublishedView((), ())


def compute_published(search: Search) -> PublishedView:
    """Return what is published on the search's data set: nothing for most."""
    size = full_size(search.data.name)
    if size is None:
        return NOTHING
    return PublishedView(published_on(search.data.name), tuple(_reduced(search, size)))


def chosen(view: PublishedView, data: str) -> PublishedView:
    """``view``, or a `SettingError` where it is empty."""
    if not view.methods:
        raise SettingError(f"nothing is published on {data}", f"there are points on {' and '.join(data_sets())}")
    return view


def style(method: PublishedMethod) -> tuple[str, str, str]:
    """Color, plotly symbol and matplotlib marker of the method, whatever else is drawn."""
    names = [known.name for known in published()]
    return PUBLISHED[names.index(method.name) % len(PUBLISHED)]


def counted(point: PublishedPoint) -> str:
    """``49,152``, or the range."""
    low, high = point.relus
    return f"{whole(low)} to {whole(high)}" if point.is_range else whole(low)


def _reduced(search: Search, size: FullSize) -> Sequence[str]:
    reduced = []
    width = next((value for key, value in search.settings if key == "width"), "1.0")
    if _smaller(width, 1.0):
        reduced.append(f"width {width}")
    if search.data.input_shape != size.input_shape:
        reduced.append(f"images of {'×'.join(map(str, search.data.input_shape))}")
    images = search.data.train + search.data.validation
    if images < size.train:
        reduced.append(f"{whole(images)} of {whole(size.train)} training images")
    return reduced


def _smaller(text: str, bound: float) -> bool:
    try:
        return float(text) < bound
    except ValueError:
        return False
