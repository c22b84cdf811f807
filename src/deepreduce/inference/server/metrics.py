"""A page of a server's counters for Prometheus, on a port of its own; needs prometheus_client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ...errors import MissingPackageError, SettingError
from ..checks import check_between
from .events import Name

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counts events (`Server(observers=[metrics.observe])`) and serves them at /metrics."""

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as error:
            raise MissingPackageError(
                "metrics need prometheus_client", "pip install 'deepreduce[server]', or leave `metrics` out"
            ) from error
        self._registry = registry = CollectorRegistry()
        self._sessions = Gauge("deepreduce_sessions", "Open sessions", registry=registry)
        self._opened = Counter("deepreduce_sessions_opened", "Sessions begun", registry=registry)
        self._prepared = Counter("deepreduce_preparations", "Batches prepared", registry=registry)
        self._predictions = Counter("deepreduce_predictions", "Batches predicted", registry=registry)
        self._images = Counter("deepreduce_images", "Images predicted", registry=registry)
        self._refused = Counter("deepreduce_refusals", "Sessions refused or ended early", ["reason"], registry=registry)
        self._bytes = Counter("deepreduce_bytes", "Bytes of messages", ["phase", "direction"], registry=registry)
        self._seconds = Histogram(
            "deepreduce_seconds", "Seconds of a batch", ["phase"], buckets=SECONDS, registry=registry
        )
        self._ready = Gauge("deepreduce_preparations_ready", "Batches prepared and not used", registry=registry)
        self._stored = Gauge("deepreduce_store_bytes", "Bytes of prepared material on disk", registry=registry)
        self._stop: Callable[[], None] | None = None

    def follow(self, ready: Callable[[], int], stored_bytes: Callable[[], int]) -> None:
        """Asks these whenever the page is read."""
        self._ready.set_function(ready)
        self._stored.set_function(stored_bytes)

    def observe(self, name: Name, fields: dict[str, Any]) -> None:
        """Takes a server's event."""
        match name:
            case "opened":
                self._sessions.inc()
                self._opened.inc()
            case "closed":
                self._sessions.dec()
            case "refused" | "failed":
                self._refused.labels(fields.get("reason", name)).inc()
            case "prepared":
                self._prepared.inc()
                self._cost("offline", fields)
            case "predicted":
                self._predictions.inc()
                self._images.inc(fields["batch"])
                self._cost("online", fields)
            case _:
                pass

    def listen(self, host: str, port: int) -> int:
        """Serves the page (plain HTTP) and returns the port. Raises `SettingError`."""
        from prometheus_client import start_http_server

        check_between("port", port, 0, 65535)
        try:
            server, thread = start_http_server(port, host, self._registry)
        except (OSError, OverflowError) as error:
            raise SettingError(f"cannot listen on {host}:{port}: {error}", "choose another address or port") from None

        def stop() -> None:
            server.shutdown()
            server.server_close()
            if thread is not threading.current_thread():
                thread.join()

        self._stop = stop
        return int(server.server_port)

    def close(self) -> None:
        """No more pages."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def _cost(self, phase: str, fields: dict[str, Any]) -> None:
        self._seconds.labels(phase).observe(fields["seconds"])
        for direction in ("up", "down"):
            self._bytes.labels(phase, direction).inc(fields[f"{direction}_bytes"])
