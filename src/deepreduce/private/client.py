"""The client: holds the image, learns the answer, shows the server neither.

`Client.prepare` does everything that does not depend on the image; `Client.predict` then needs one message each way per
level of ReLUs. Material is used once: it leaves the store before the first byte that depends on the image is sent.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..errors import SessionError, SettingError
from ..plan import INPUT, OUTPUT, Plan, decode_output, digest, encode_input
from ..plan.messages import Protocol
from ..plan.packing import bits_to_bytes
from ..plan.reference import wrap
from .hello import MAX_BATCH, VERSION, ClientHello, VersionError, client_keys, greet_server
from .linear import Layout
from .meter import Phase, Run
from .preparation import Preparation, Prepared, Progress
from .program import compile_plan
from .settings import MAX_THREADS, check_between, check_one_of, check_seconds, check_token
from .streams import TcpStream, TlsStream, checked_context
from .transport import Channel, Kind, PeerError, Reason, SilenceError, Stream
from .vectors import unpack

Mode = Literal["prepared", "single"]
KEPT_RUNS = 1000


class Client:
    """A session with a server, connected when the constructor returns; a context manager.

    ``protocol``: "fused", or "delphi" for exact answers. ``batch``: images per prediction. ``threads``: of this side.
    ``tls``: an `ssl.SSLContext` (`deepreduce.private.client_context`), or None for plain TCP, which is for tests: it
    keeps out nobody who can change messages; ``server_name``: what the certificate must be for, if not ``host``.
    ``pin``: the plan's digest, if it is known. ``token``: what the server asks for. ``mode="single"`` prepares within
    `predict` and keeps nothing. ``timeout_s``: how long the server may be silent. ``on_progress(what, done, total)`` is
    called from the calling thread.

    ``runs`` holds what the last predictions cost (`Run`), ``setup`` what the connection did, ``plan`` and
    ``plan_digest`` what the server computes. After a `SessionError` the session is over and what was prepared is lost.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        protocol: Protocol = "fused",
        batch: int = 1,
        threads: int = 1,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        pin: str | None = None,
        token: str | None = None,
        mode: Mode = "prepared",
        timeout_s: float = 60.0,
        on_progress: Progress | None = None,
    ) -> None:
        check_one_of("protocol", protocol, get_args(Protocol))
        check_one_of("mode", mode, get_args(Mode))
        check_between("batch", batch, 1, MAX_BATCH)
        check_between("threads", threads, 1, MAX_THREADS)
        check_between("port", port, 1, 65535)
        check_seconds("timeout_s", timeout_s)
        check_token(token)
        self.runs: deque[Run] = deque(maxlen=KEPT_RUNS)
        self.setup = Phase()
        self._mode, self._batch = mode, int(batch)
        self._progress = on_progress or (lambda what, done, total: None)
        self._prepared: OrderedDict[bytes, Prepared] = OrderedDict()
        self._lock = threading.RLock()
        self._closed = False
        started = time.perf_counter()
        self._channel = Channel(_connect(host, port, tls, server_name, timeout_s), "server", timeout_s)
        with self._guarded():
            with self._channel.meter.phase(self.setup):
                hello = ClientHello(VERSION, protocol, self._batch, token, pin)
                self.plan: Plan
                self.plan, self._most_prepared = greet_server(self._channel, hello)
                self.plan_digest = digest(self.plan)
                keys = client_keys(self._channel, self.plan)
            self.setup.seconds = time.perf_counter() - started
            program = compile_plan(self.plan, protocol, self._batch)
            layouts = {name: Layout(p, self.plan.ring.ring_bits) for name, p in program.packings.items()}
        self._preparation: Preparation | None = Preparation(
            program, layouts, keys, self._channel, threads, self._progress
        )

    @property
    def prepared(self) -> int:
        """How many predictions are prepared."""
        return len(self._prepared)

    @property
    def most_prepared(self) -> int:
        """How many predictions the server lets this session prepare ahead."""
        return self._most_prepared

    def prepare(self, n: int = 1) -> None:
        """Prepares ``n`` more predictions, before any image is known.

        Raises `SettingError` beyond what the server allows (what is prepared stays), `SessionError`.
        """
        self._session()
        check_between("preparations", n, 0, self._most_prepared - len(self._prepared))
        with self._lock:
            for done in range(n):
                self._progress("prepare", done, n)
                with self._guarded():
                    batch_id, material = self._session().run()
                    self._prepared[batch_id] = material
        self._progress("prepare", n, n)

    def predict(self, x: ArrayLike) -> NDArray[np.float64]:
        """Answers [batch, ...] in real numbers for images [batch, C, H, W]. Uses up one preparation."""
        try:
            images = np.asarray(x, np.float64)
        except (TypeError, ValueError):
            raise SettingError("the images are not an array of numbers", self._wanted()) from None
        self._check_shape(images.shape)
        return decode_output(self.plan, self.predict_integers(encode_input(self.plan, images)))

    def predict_integers(self, x: NDArray[np.integer]) -> NDArray[np.int64]:
        """The same on the plan's integers, |x| < 2^(l - 1)."""
        if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.integer):
            found = getattr(x, "dtype", type(x).__name__)
            raise SettingError(f"the images are {found}, integers are needed", "use predict for real numbers")
        self._check_shape(x.shape)
        bound = 2 ** (self.plan.ring.ring_bits - 1)
        if x.size and not -bound <= int(x.min()) <= int(x.max()) < bound:
            raise SettingError(f"an image has a value beyond {bound - 1}", "scale it as in training")
        with self._lock:
            self._session()
            if not self._prepared:
                if self._mode != "single":
                    raise SessionError("nothing is prepared", "call prepare(n) first, or use mode='single'")
                self.prepare(1)
            with self._guarded():
                self._session()
                batch_id, material = self._prepared.popitem(last=False)  # gone before its first byte is sent
                return self._predict(batch_id, material, np.ascontiguousarray(x, np.int64))

    def close(self) -> None:
        """Ends the session; what is prepared is lost, keys are forgotten."""
        if not self._closed:
            with contextlib.suppress(SessionError, OSError):
                self._channel.send(Kind.BYE)
            self._channel.close()
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _session(self) -> Preparation:
        if self._preparation is None:
            raise SessionError("the session is over", "connect again")
        return self._preparation

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if shape != (self._batch, *self.plan.input_shape):
            raise SettingError(f"the images have the shape {shape}", self._wanted())

    def _wanted(self) -> str:
        return f"this session takes {(self._batch, *self.plan.input_shape)}"

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """After any error the session is over: nothing half done is tried again."""
        try:
            yield
        except BaseException as error:
            if not self._closed:
                if isinstance(error, PeerError):
                    self._channel.close()
                else:
                    self._channel.fail(_reason(error))
            self._forget()
            raise

    def _forget(self) -> None:
        self._closed = True
        self._prepared.clear()
        self._preparation = None

    def _predict(self, batch_id: bytes, material: Prepared, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """The online phase (docs/protocol.md, "whole run")."""
        program, channel, ring_bits = self._session().program, self._channel, self.plan.ring.ring_bits
        run = Run(material.offline)
        with channel.meter.phase(run.online):
            with channel.meter.op(INPUT):
                masked = (x.view(np.uint64) - material.input_mask) & program.mask
                content = _core.pack(masked.reshape(-1), ring_bits)
                channel.send(Kind.INPUT, batch_id, material.transcript, content, op=INPUT)
            for done, level in enumerate(program.levels):
                self._progress("predict", done, len(program.levels))
                answers = []
                for step in level:
                    with channel.meter.op(step.op):
                        for v in material.vectors[step]:
                            for chunk in v.vector.chunks:
                                labels = channel.receive(Kind.LABELS, chunk.labels, op=step.op)
                                answers.append((step.op, v.answer(chunk, labels)))
                for op, content in answers:
                    with channel.meter.op(op):
                        channel.send(Kind.ANSWERS, content, op=op)
            with channel.meter.op(OUTPUT):
                count = material.output_share.size
                content = channel.receive(Kind.RESULT, bits_to_bytes(count * ring_bits), op=OUTPUT)
                server = unpack(content, count, ring_bits).reshape(material.output_share.shape)
        self.runs.append(run)
        self._progress("predict", len(program.levels), len(program.levels))
        return wrap((server + material.output_share).view(np.int64), ring_bits)


def _reason(error: BaseException) -> Reason:
    """What the peer is told."""
    if isinstance(error, VersionError):
        return Reason.VERSION
    if isinstance(error, SilenceError):
        return Reason.TIMEOUT
    return Reason.MALFORMED if isinstance(error, SessionError) else Reason.INTERNAL


def _connect(host: str, port: int, tls: ssl.SSLContext | None, server_name: str | None, timeout_s: float) -> Stream:
    if tls is not None:
        checked_context(tls, server_side=False)
    try:
        sock = socket.create_connection((host, port), timeout_s)
    except (OSError, OverflowError) as error:
        raise SessionError(f"cannot connect to {host}:{port}: {error}", "is the server running there?") from None
    try:
        if tls is None:
            return TcpStream(sock, timeout_s)
        return TlsStream(sock, tls, timeout_s, server_name=server_name or host)
    except (OSError, ValueError) as error:
        sock.close()
        plain = "WRONG_VERSION_NUMBER" in str(error)  # what comes back is not TLS
        hint = "does the server speak TLS?" if plain else "check the certificates on both sides"
        raise SessionError(f"TLS with {host}:{port} failed: {error}", hint) from None
