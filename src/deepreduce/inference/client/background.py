"""Preparation in the background: a thread with a connection of its own keeps a store filled while predictions run."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from ...errors import DeepReduceError, SessionError, SettingError, one_line
from ..checks import check_between
from ..transport.errors import BusyError
from .client import Client
from .retry import retry_pause_s

log = logging.getLogger("deepreduce.client")
POLL_S = 0.5  # between looks at the store, which other processes use too
RETRY_S = 5.0  # after an error


class BackgroundPreparer:
    """Keeps ``keep`` predictions ready for ``client``, which must keep them in a store; a context manager.

    ``error`` is the last error, None since something was prepared; after one it tries again with a new connection. A
    busy server is no error: it tries again when it is told to.
    """

    def __init__(self, client: Client, keep: int) -> None:
        check_between("keep", keep, 1, client.most_prepared)
        if not client.stored:
            raise SettingError(
                "preparing in the background needs a store on both sides", "give the client and the server a store"
            )
        self.error: DeepReduceError | None = None
        self._for, self._keep = client, keep
        self._changed = threading.Condition()
        self._stopped = False
        self._working: Client | None = None
        self._thread = threading.Thread(target=self._run, name="deepreduce-preparer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            message = f"this machine gives us no thread: {error}"
            raise SessionError(message, "stop other programs, then try again") from None

    def wait(self, n: int = 1, timeout_s: float | None = None) -> None:
        """Returns when ``n`` predictions are ready. Raises the background's error, `SessionError` after the time."""
        check_between("predictions to wait for", n, 1, self._keep)

        def settled() -> bool:
            return self._stopped or self.error is not None or self._for.prepared >= n

        with self._changed:
            if not self._changed.wait_for(settled, timeout_s):
                raise SessionError(f"{n} predictions were not prepared within {timeout_s:g} s", "allow more time")
            if self._for.prepared < n:
                raise self.error or SessionError("preparing was stopped", "start another BackgroundPreparer")

    def close(self) -> None:
        """Stops, even in the middle of a preparation, whose material is dropped."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            working = self._working
        if working is not None:
            working.abort()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stopped:
            pause = POLL_S
            try:
                if self._for.prepared < self._keep:
                    self._prepare_one()
                    self._report(None)
                    continue
            except BusyError as busy:
                pause = retry_pause_s(busy)
                if self._working is not None and not self._working.connected:
                    self._drop()
            except DeepReduceError as error:
                pause = RETRY_S
                self._drop()
                self._report(error)
            except Exception as error:  # a thread that waits must learn it
                log.error("preparing failed", exc_info=error)
                pause = RETRY_S
                self._drop()
                self._report(SessionError(f"preparing failed: {type(error).__name__}: {one_line(error)}"))
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, pause)
        self._drop()

    def _prepare_one(self) -> None:
        if self._working is None:
            working = self._for.another()
            with self._changed:
                self._working = working
            if self._stopped:  # while it was connecting
                return
        self._working.prepare(1)

    def _report(self, error: DeepReduceError | None) -> None:
        with self._changed:
            if not self._stopped:
                self.error = error
            self._changed.notify_all()

    def _drop(self) -> None:
        with self._changed:
            working, self._working = self._working, None
        if working is not None:
            working.close()
