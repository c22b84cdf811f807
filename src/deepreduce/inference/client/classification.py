"""Classification of any number of images: prepared a few ahead, over broken connections, answer by answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import DeepReduceError, SessionError
from ...plan import Plan, shapes
from ..store import StoreFullError
from ..transport.errors import BusyError, PeerError
from ..transport.frames import Reason
from ..transport.meter import Run
from .retry import retry_while_busy

if TYPE_CHECKING:
    from .client import Client

T = TypeVar("T")
Note = Callable[[str], object]
AHEAD = 4  # predictions that are prepared before the next of them is answered
MOST_BROKEN = 3  # connections in turn that break without an answer
MOST_REFUSED = 3  # batches in turn that the server does not have: more of them are not spent in vain
PASSING = (Reason.STOPPING, Reason.TIMEOUT, Reason.INTERNAL)  # why a server ends sessions that may begin again


@dataclass(frozen=True, slots=True, repr=False)
class Classification:
    """The answer for one image: ``logits`` [classes], the names of ``classes``, and what its batch cost (``run``).

    ``run`` is None where the answer was computed in the clear.
    """

    logits: NDArray[np.float64]
    classes: tuple[str, ...]
    run: Run | None = field(default=None, compare=False)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The softmax [classes] of the logits."""
        powers = np.exp(self.logits - self.logits.max())
        result: NDArray[np.float64] = powers / powers.sum()
        return result

    @property
    def index(self) -> int:
        """Index of the most probable class."""
        return int(np.argmax(self.logits))

    @property
    def label(self) -> str:
        """Name of the most probable class."""
        return self.classes[self.index]

    @property
    def probability(self) -> float:
        """Probability of the most probable class."""
        return float(self.probabilities.max())

    def top(self, count: int = 3) -> dict[str, float]:
        """Return the most probable classes with their probabilities, the most probable first."""
        probabilities = self.probabilities
        return {self.classes[i]: float(probabilities[i]) for i in self.ranking()[:count]}

    def ranking(self) -> list[int]:
        """Return the indices of all classes, the most probable first."""
        return [int(i) for i in np.argsort(-self.logits, kind="stable")]

    def __repr__(self) -> str:
        best = ", ".join(f"{name} {100 * probability:.1f} %" for name, probability in self.top().items())
        return f"<Classification {best}>"


def class_names(plan: Plan) -> tuple[str, ...]:
    """Return the names of a plan's classes; numbers where it has none, or too few."""
    names = () if plan.pictures is None else plan.pictures.classes
    outputs = int(np.prod(shapes(plan)[plan.output]))
    return tuple(names[i] if i < len(names) else str(i) for i in range(outputs))


def classify_each(
    client: Client, inputs: Iterable[NDArray[np.float64]], *, wait_s: float, note: Note
) -> Iterator[Classification]:
    """Yield an answer for each of the network's inputs [C, h, w], which are read a few ahead.

    A connection that breaks is made again, also while the server is away, for ``wait_s`` seconds; what is in the stores
    makes that safe: a batch that was named is used up. ``note`` is told what was done about it. Raises the error after
    which that was not possible, and an input's own error when those before it are answered.
    """
    failed: list[DeepReduceError] = []
    size, waiting, names = client.target.batch, _until_error(inputs, failed), class_names(client.plan)
    ahead = list(islice(waiting, AHEAD * size))
    while ahead:
        batch, ahead = ahead[:size], ahead[size:]
        ahead += islice(waiting, size)
        images = np.zeros((size, *client.plan.input_shape))  # what is missing in the last batch stays black
        images[: len(batch)] = batch
        left = 1 - (-len(ahead) // size)
        logits = unbroken(client, partial(predict_prepared, client, images, left, wait_s, note), wait_s, note)
        run = client.runs[-1]
        for values in logits[: len(batch)]:
            yield Classification(values.reshape(-1), names, run)
    if failed:
        raise failed[0]


def _until_error(inputs: Iterable[T], failed: list[DeepReduceError]) -> Iterator[T]:
    """Yield the inputs before one that cannot be read, so that they are answered before its error is raised."""
    try:
        yield from inputs
    except DeepReduceError as error:
        failed.append(error)


def unbroken(client: Client, work: Callable[[], T], wait_s: float, note: Note) -> T:
    """Return the result of ``work``, begun again on a new connection when the one it has breaks.

    Raises the error of a connection that breaks ``MOST_BROKEN`` times in turn, or cannot be made again.
    """
    for _ in range(MOST_BROKEN):
        try:
            return work()
        except BusyError:
            raise
        except SessionError as error:
            if client.connected or (isinstance(error, PeerError) and error.reason not in PASSING):
                raise
            try:
                retry_while_busy(client.reconnect, wait_s)
            except SessionError:
                raise error from None
            note(f"the connection broke ({error.message}) and was made again")
    return work()


def predict_prepared(
    client: Client, images: NDArray[np.float64], left: int, wait_s: float, note: Note
) -> NDArray[np.float64]:
    """Return the logits of one batch; ``left``: batches that are known to come, with this one.

    What the server no longer has is passed over, and what is missing is prepared first. A server that refuses what it
    has just prepared is not asked again.
    """
    fresh, refused = False, 0
    while True:
        if not client.prepared and client.mode == "prepared":
            prepare_some(client, min(left, AHEAD, client.most_prepared), wait_s, note)
            fresh = True
        before = client.prepared
        try:
            return client.predict(images, more=left > 1 and client.prepared > 1)
        except PeerError as error:
            refused += 1
            if error.reason != Reason.BATCH or not client.stored or not before or fresh or refused == MOST_REFUSED:
                raise
            note("a prepared batch was not the server's any more; it is dropped on both sides")


def prepare_some(client: Client, count: int, wait_s: float, note: Note) -> None:
    """Prepare ``count``, or as many as a quota, a busy server or the limit of this side leaves, if any is ready then.

    Raises `BusyError`, `PeerError`, `StoreFullError`.
    """
    goal = client.prepared + count
    try:
        retry_while_busy(lambda: client.prepare(max(0, goal - client.prepared)), wait_s)
    except (BusyError, StoreFullError) as error:
        if not client.prepared:
            raise
        note(str(error))
    except PeerError as error:
        if error.reason != Reason.QUOTA or not client.prepared:
            raise
        note(str(error))
