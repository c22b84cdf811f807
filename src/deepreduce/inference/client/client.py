"""The client: holds the image, learns the answer, shows the server neither.

`Client.prepare` does everything that does not depend on the image; `Client.predict` then needs a few messages each way
per level of ReLUs. Material is used once: both sides have dropped it from memory or store before the first byte that
depends on the image is sent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _core
from ...errors import SessionError, SettingError, StoreError
from ...plan import Plan, decode_output, encode_input, packings, predict
from ...plan.cost.choice import Choice, Prefer
from ...plan.execution.messages import DEFAULT, Protocol, ProtocolChoice, check_protocol
from ...progress import Progress, no_progress
from ..access.default_tls import default_client_tls
from ..access.quota_check import QuotaQuestion, ask, refusal
from ..checks import MAX_THREADS, check_between, check_one_of, check_seconds, check_token, checked_pin
from ..protocol.client_offline import Preparation
from ..protocol.client_online import predict_online
from ..protocol.key_setup import client_keys
from ..protocol.linear import PackingLayout
from ..protocol.program import Program, compile_plan
from ..store import ClientStore
from ..store.client import MAX_BYTES
from ..transport.errors import BusyError, PeerError
from ..transport.frames import Kind, Reason
from ..transport.handshake import MAX_BATCH
from ..transport.meter import Phase, Run
from ..transport.plan_list import check_plan_name
from ..zeroize import wiping
from .classification import Classification, class_names, classify_each
from .connection import Connection, Destination, closing_on_error, greet
from .inputs import each_image, image_input
from .material_pool import ClientMemoryPool, ClientPool, ClientStoredPool
from .protocol_choice import measured_choice, prepared_protocol
from .reservation import Reservation
from .retry import retry_while_busy

if TYPE_CHECKING:
    from .inputs import AnyImage

log = logging.getLogger("deepreduce.client")
Mode = Literal["prepared", "single"]
KEPT_RUNS = 1000
AGAIN_S = 5.0  # for the second session of a client that changes its protocol
BATCH_HINT = "it is dropped here, too; use the next one, or prepare again"


class Client:
    """A session with a server, connected when the constructor returns; a context manager.

    ``protocol``: "ot", "delphi" (garbled circuits), or "auto": the one of which batches are in the store, else the one
    that takes least on the link to the server, which is measured, in all or (``prefer="online"``) while a prediction
    runs; ``choice`` says why, ``protocol`` which it is. ``batch``: images per prediction. ``threads``: of this side.
    ``tls``: an `ssl.SSLContext` (`deepreduce.inference.client_context`); None: on this machine the development CA that
    a server made, elsewhere the system's authorities; ``server_name``: what the certificate must be for, if not
    ``host``. ``insecure=True``: plain TCP, for tests: others on the way can read the token and change messages.
    ``plan_name``: which of a server's plans (`list_plans`); "": the only one, or the one without a name.
    ``pin``: the plan's digest, if it is known. ``token``: what the server asks for. ``mode="single"`` prepares within
    `predict` and keeps nothing. ``timeout_s``: how long the server may be silent. ``on_progress(what, done, total)`` is
    called from the calling thread.

    ``store``: a folder (made as needed) or a `ClientStore`. If the server has a store too (``stored``), what is
    prepared outlives connections and processes; without, or if the server has none, it ends with the connection.
    ``store_key``: a file with the key that locks it; None: the user's (docs/operate/service.md). ``max_store_bytes``:
    of what is prepared here, in the folder, or in memory without a store; a `ClientStore` has a limit of its own.

    Before an image is sent the server reserves a prepared batch for it, which takes a round trip. It is saved where the
    batch is reserved ahead: by `reserve`, by ``more=True`` with the prediction before, and, unless the server limits
    what this client may use, always where what is prepared ends with the connection.

    Where the server limits what this client may use, `prepare` and `predict` raise `PeerError` with the reason QUOTA;
    nothing prepared is lost by it, and the session goes on.

    `classify` takes any number of images and does all of it by itself:

        >>> with Client("127.0.0.1", 7000, store="my-store") as client:
        ...     [answer] = client.classify("cat.png")

    ``runs`` holds what the last predictions cost (`Run`), ``setup`` what the connection did, ``plan`` and
    ``plan_digest`` what the server computes. After a `SessionError` the session is over and what was prepared in memory
    is lost; `reconnect` begins another.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        protocol: ProtocolChoice = "auto",
        prefer: Prefer = "total",
        batch: int = 1,
        threads: int = 1,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        insecure: bool = False,
        plan_name: str = "",
        pin: str | None = None,
        token: str | None = None,
        mode: Mode = "prepared",
        timeout_s: float = 60.0,
        store: ClientStore | Path | str | None = None,
        store_key: Path | str | None = None,
        max_store_bytes: int = MAX_BYTES,
        on_progress: Progress | None = None,
    ) -> None:
        if protocol != "auto":
            check_protocol(protocol)
        check_one_of("prefer", prefer, get_args(Prefer))
        check_one_of("mode", mode, get_args(Mode))
        check_between("batch", batch, 1, MAX_BATCH)
        check_between("threads", threads, 1, MAX_THREADS)
        check_between("port", port, 1, 65535)
        check_seconds("timeout_s", timeout_s)
        check_between("max_store_bytes", max_store_bytes, 1, 1 << 62)
        check_token(token)
        check_plan_name(plan_name)
        pin = checked_pin(pin)
        if insecure and (tls is not None or server_name is not None):
            raise SettingError("plain TCP and TLS are asked for", "leave `insecure` out, or the others")
        if tls is None and not insecure:
            tls, server_name = default_client_tls(host, server_name)
        keeps = store is not None and mode == "prepared"
        first = DEFAULT if protocol == "auto" else protocol
        self.target = Destination(
            host, port, first, int(batch), tls, server_name, pin, token, timeout_s, keeps, plan_name
        )
        self.choice: Choice | None = None
        self.runs: deque[Run] = deque(maxlen=KEPT_RUNS)
        self.setup = Phase()
        self.mode, self._threads = mode, threads
        self._progress = on_progress or no_progress
        self._lock, self._process = threading.RLock(), os.getpid()
        self._connection: Connection | None = None
        self._preparation: Preparation | None = None
        self._reservation: Reservation | None = None
        self._max_store_bytes = max_store_bytes
        self._own_store = (
            None if store is None or isinstance(store, ClientStore) else ClientStore(store, max_store_bytes, store_key)
        )
        self.store = store if isinstance(store, ClientStore) else self._own_store
        self.plan: Plan
        try:
            self._connect(None)
            if protocol == "auto":
                self._choose(prefer)
        except BaseException:
            self.close()
            raise

    @property
    def protocol(self) -> Protocol:
        """How ReLUs are computed."""
        return self.target.protocol

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the answers; numbers where the plan names none.

        >>> client.classes
        ('cat', 'dog')
        """
        return class_names(self.plan)

    @property
    def prepared(self) -> int:
        """Number of predictions prepared: on this connection, or in the store for this server, plan and settings.

        One that is reserved counts.
        """
        return len(self._pool) + (self._reservation is not None)

    @property
    def connected(self) -> bool:
        """Whether the session goes on."""
        return self._connection is not None

    @property
    def stored(self) -> bool:
        """Whether prepared material outlives the connection."""
        return self._pool.stored

    @property
    def most_prepared(self) -> int:
        """Number of predictions that the server lets this client prepare ahead."""
        return self._most_prepared

    def prepare(self, n: int = 1) -> None:
        """Prepares ``n`` more predictions, before any image is known.

        Raises `SettingError` beyond what the server allows, `PeerError` (QUOTA) beyond what it lets this identity do
        and `BusyError` when it has no room now (the session goes on, and what is prepared stays), `PeerError` (BATCH)
        for a reservation that is refused meanwhile, `SessionError`, `StoreFullError` (a
        `StoreError`) at the limit of this side: then the session goes on, what is prepared stays, and the server was
        not asked.
        """
        self._session()
        check_between("preparations", n, 0, max(0, self._most_prepared - self.prepared))
        with self._lock:
            self._settle()
            for done in range(n):
                self._progress("prepare", done, n)
                self._pool.check_room(self._batch_bytes())
                self._ask(QuotaQuestion.PREPARATION)
                with self._guarded(BusyError):
                    batch_id, material = self._prepares().run()
                self._pool.put(batch_id, material)
        self._progress("prepare", n, n)

    def reserve(self) -> None:
        """Reserve a prepared batch for the next prediction, before its image is known; does not wait for the answer.

        Without an effect if one is reserved already. What is reserved and not used is lost when the session ends.
        Raises what `predict` raises before it sends the image.
        """
        self._session()
        with self._lock:
            self._settle()
            if self._reservation is None:
                self._begin_reservation()

    def predict(self, x: ArrayLike, *, more: bool = False) -> NDArray[np.float64]:
        """Answers [batch, ...] in real numbers for images [batch, C, H, W]. Uses up one preparation.

        ``more``: others follow, so that the next batch is reserved while the answer is on its way. Raises `PeerError`
        with the reason BATCH when the server no longer has its part of the batch, which is then lost: the image was not
        sent, and the session goes on.
        """
        try:
            images = np.asarray(x, np.float64)
        except (TypeError, ValueError):
            raise SettingError("the images are not an array of numbers", self._wanted()) from None
        self._check_shape(images.shape)
        encoded = encode_input(self.plan, images)
        with wiping(encoded):
            return decode_output(self.plan, self.predict_integers(encoded, more=more))

    def classify(
        self, images: AnyImage | Sequence[AnyImage], *, resize: bool = False, wait_s: float = 0.0
    ) -> list[Classification]:
        """Return the answers for any number of images: paths, pictures of Pillow's, or arrays.

        uint8 arrays are pixels [C, H, W], [H, W, C] or [H, W]; arrays of real numbers are the network's input,
        normalized already. ``resize`` stretches pictures to the size of the plan. What is needed is prepared a few
        predictions ahead, and a connection that breaks is made again; ``wait_s``: how long a busy or absent server is
        waited for.

        The softmax is taken here: the server sees neither it nor the images. Raises `DataError`, `PlanError` when the
        plan says nothing about pictures, and what `prepare` and `predict` raise; `classify_each` gives the answers that
        came before an error, too.

            >>> [answer] = client.classify("cat.png", resize=True)
            >>> answer.label, answer.probability
            ('cat', 0.931)
        """
        return list(self.classify_each(images, resize=resize, wait_s=wait_s))

    def classify_each(
        self, images: AnyImage | Iterable[AnyImage], *, resize: bool = False, wait_s: float = 0.0
    ) -> Iterator[Classification]:
        """Yield the answers of `classify`, each when it is there. Images are read a few ahead.

        >>> for path, answer in zip(paths, client.classify_each(paths)):
        ...     print(path, answer.label)
        """
        inputs = (
            image_input(image, self.plan, resize=resize, name=f"image {number}")
            for number, image in enumerate(each_image(images))
        )
        return classify_each(self, inputs, wait_s=wait_s, note=log.info)

    def predict_integers(self, x: NDArray[np.integer], *, more: bool = False) -> NDArray[np.int64]:
        """Return the same as `predict` on the plan's integers, |x| < 2^(l - 1)."""
        if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.integer):
            found = getattr(x, "dtype", type(x).__name__)
            raise SettingError(f"the images are {found}, integers are needed", "use predict for real numbers")
        self._check_shape(x.shape)
        bound = 2 ** (self.plan.ring.ring_bits - 1)
        if x.size and not -bound <= int(x.min()) <= int(x.max()) < bound:
            raise SettingError(f"an image has a value beyond {bound - 1}", "scale it as in training")
        self._session()  # before the lock, which a fork may have copied while it was held
        with self._lock:
            connection = self._session()
            if self._reservation is None:
                self._begin_reservation()
            self._settle()
            channel, image = connection.channel, np.ascontiguousarray(x, np.int64)
            ahead = self._reserve_ahead if more or not connection.stored else None
            with self._guarded():
                reservation, self._reservation = self._reservation, None
                assert reservation is not None  # or `_settle` would have said no
                with closing(reservation):
                    y, run = predict_online(channel, self._program, reservation.material, image, self._progress, ahead)
            self.runs.append(run)
            return y

    def reconnect(self) -> None:
        """Begin another session after an error or a restart of the server, which must serve the same plan.

        What was prepared in memory is lost, what is in the store is not.
        """
        with self._lock:
            self._end()
            self.target = replace(self.target, pin=self.plan_digest)
            self._connect(self.plan)

    def another(self) -> Client:
        """Return a second client with the same settings and store, on a connection of its own."""
        t = self.target
        return Client(
            t.host,
            t.port,
            protocol=t.protocol,
            batch=t.batch,
            threads=self._threads,
            tls=t.tls,
            server_name=t.server_name,
            insecure=t.tls is None,
            plan_name=t.plan_name or "",
            pin=self.plan_digest,
            token=t.token,
            mode=self.mode,
            timeout_s=t.timeout_s,
            store=self.store,
            max_store_bytes=self._max_store_bytes,
        )

    def abort(self) -> None:
        """End the session at once; may be called from another thread."""
        connection = self._connection
        if connection is not None:
            connection.channel.abort()

    def close(self) -> None:
        """Ends the session; what is prepared in memory is lost, keys are forgotten."""
        if os.getpid() != self._process:  # the parent's session goes on
            return
        self._leave()
        if self._own_store is not None:
            self._own_store.close()

    def __repr__(self) -> str:
        if getattr(self, "plan", None) is None:
            return "<Client, not connected>"
        state = "connected" if self.connected else "not connected"
        return (
            f"<Client of {self.target.place}: {state}, protocol {self.protocol}, plan {self.plan_digest[:12]}, "
            f"{len(self.classes)} classes, {self.prepared} prepared>"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, known: Plan | None) -> None:
        started, phase = time.perf_counter(), Phase()
        connection = greet(self.target, self.store, known, phase)
        self.setup = phase
        self.plan, self.plan_digest, self._most_prepared = (
            connection.plan,
            connection.plan_digest,
            connection.most_prepared,
        )
        with closing_on_error(connection.channel):
            if connection.plan is not known or self._program.protocol != self.target.protocol:
                self._program: Program = compile_plan(self.plan, self.target.protocol, self.target.batch)
                self._predicted_bytes: int | None = None
            self._pool: ClientPool = ClientMemoryPool(self._max_store_bytes)
            if connection.stored and self.store is not None:
                self._pool = ClientStoredPool(self.store, connection.purpose, self._program, self._threads)
        self._connection = connection
        self.setup.seconds = time.perf_counter() - started

    def _choose(self, prefer: Prefer) -> None:
        """Take the protocol that is best here; with another than the first one in a session of its own."""
        connection = self._session()
        protocol = prepared_protocol(self.store, connection)
        if protocol is None:
            with self._guarded(), connection.channel.meter.phase(self.setup):
                self.choice = measured_choice(connection, prefer, self.target.batch)
            protocol = self.choice.protocol
        if protocol != self.target.protocol:
            connection.channel.send(Kind.BYE)
            connection.channel.wait_for_end(AGAIN_S)  # the server has our place again
            self._end()
            self.target = replace(self.target, protocol=protocol)
            retry_while_busy(self.reconnect, AGAIN_S)

    def _ask(self, asked: QuotaQuestion) -> None:
        """Raises `PeerError` (QUOTA) when the server lets this client do no more of it; then nothing is lost."""
        connection = self._session()
        if not connection.metered:
            return
        with self._guarded():
            answer = ask(connection.channel, asked)
        if not answer.granted:
            raise refusal(asked, answer)

    def _begin_reservation(self) -> None:
        """Take a batch, which is from now on used up, and ask the server for its part."""
        channel = self._session().channel
        with self._guarded():
            channel.check_open()  # before anything is burnt for nothing
        self._ask(QuotaQuestion.PREDICTION)
        if self.mode == "single":
            self.prepare(1)
        taken = self._pool.take()
        if taken is None:
            raise SessionError("nothing is prepared", "call prepare(n) first, or use mode='single'")
        self._reservation = Reservation(*taken)
        with self._guarded():
            self._reservation.send(channel)

    def _reserve_ahead(self) -> None:
        """Reserve for the prediction after this one, unless a quota must be asked first."""
        connection = self._session()
        if connection.metered:
            return
        try:
            taken = self._pool.take()
        except StoreError as error:  # which the next prediction will raise; the answer to this one is on its way
            log.warning("no batch could be reserved ahead: %s", error)
            return
        if taken is not None:
            self._reservation = Reservation(*taken)
            self._reservation.send(connection.channel)

    def _settle(self) -> None:
        """Receive the answer to a reservation that is on its way: other answers come after it.

        Raises `PeerError` (BATCH) when the server does not have the batch, which is then lost; the session goes on.
        """
        reservation = self._reservation
        if reservation is not None and reservation.granted is None:
            with self._guarded():
                reservation.receive(self._session().channel)
            if not reservation.granted:
                self._reservation = None
                reservation.close()
                raise PeerError("the server does not have the prepared batch", BATCH_HINT, Reason.BATCH)

    def _prepares(self) -> Preparation:
        """Return the session's, with keys that are made when they are first needed."""
        connection = self._session()
        if self._preparation is None:
            bits = self.plan.ring.ring_bits
            layouts = {name: PackingLayout(packing, bits) for name, packing in packings(self.plan).items()}
            with connection.channel.meter.phase(self.setup):
                keys = client_keys(connection.channel, self.plan)
            self._preparation = Preparation(
                self._program, layouts, keys, connection.channel, self._threads, self._progress
            )
        return self._preparation

    def _batch_bytes(self) -> int:
        """Return the predicted size of one batch that is prepared, on this side."""
        if self._predicted_bytes is None:
            cost = predict(self.plan, self.target.protocol, self.target.batch).total
            self._predicted_bytes = cost.stored_bytes_client
        return self._predicted_bytes

    def _session(self) -> Connection:
        if os.getpid() != self._process:  # parent and child would use the same material
            raise SessionError("the process was forked while the session was open", "connect in each process")
        if self._connection is None:
            raise SessionError("the session is over", "connect again")
        return self._connection

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if shape != (self.target.batch, *self.plan.input_shape):
            raise SettingError(f"the images have the shape {shape}", self._wanted())

    def _wanted(self) -> str:
        return f"this session takes {(self.target.batch, *self.plan.input_shape)}"

    @contextlib.contextmanager
    def _guarded(self, *lasting: type[BusyError]) -> Iterator[None]:
        """End the session at an error, but for those that it outlasts."""
        outlasted: BusyError | None = None
        try:
            with closing_on_error(self._session().channel):
                try:
                    yield
                except lasting as error:
                    outlasted = error
        except BaseException:
            self._end()
            raise
        finally:
            _core.wipe_residue()
        if outlasted is not None:
            if outlasted.renew:
                self._preparation = None
            raise outlasted

    def _leave(self) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(SessionError, OSError):
                connection.channel.send(Kind.BYE)
        self._end()

    def _end(self) -> None:
        connection, self._connection, self._preparation = self._connection, None, None
        if connection is not None:
            connection.channel.close()
            self._pool.clear()
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            reservation.close()
