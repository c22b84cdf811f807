"""A server's counters for Prometheus; needs prometheus_client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...errors import MissingPackageError
from ...version import __version__
from .events import Name
from .resources import ServerResources

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counts events (`Server(observers=[metrics.observe])`); predictions are counted as images, by the plan's name."""

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
        except ImportError as error:
            raise MissingPackageError(
                "metrics need prometheus_client", "pip install 'deepreduce[server]', or leave `metrics` out"
            ) from error
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_BuildInfo(lambda: self._served))
        self._served: ServerResources | None = None
        self._sessions = Gauge("deepreduce_sessions", "Open sessions", registry=registry)
        self._opened = Counter("deepreduce_sessions_opened", "Sessions begun", registry=registry)
        self._prepared = Counter("deepreduce_preparations", "Batches prepared", ["plan"], registry=registry)
        self._predictions = Counter("deepreduce_predictions", "Images predicted", ["plan"], registry=registry)
        self._refused = Counter("deepreduce_refusals", "Sessions refused or ended early", ["reason"], registry=registry)
        self._bytes = Counter("deepreduce_bytes", "Bytes of messages", ["phase", "direction"], registry=registry)
        self._seconds = Histogram(
            "deepreduce_seconds", "Seconds of a batch", ["phase"], buckets=SECONDS, registry=registry
        )
        self._ready = Gauge("deepreduce_preparations_ready", "Batches prepared and not used", registry=registry)
        self._stored = Gauge("deepreduce_store_bytes", "Bytes of prepared material on disk", registry=registry)

    def follow(self, resources: ServerResources) -> None:
        """Ask a server's resources, whenever the page is read, what is prepared and which plans are served."""
        self._served = resources
        self._ready.set_function(resources.ready)
        self._stored.set_function(resources.stored_bytes)

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
                self._prepared.labels(fields.get("name", "")).inc()
                self._cost("offline", fields)
            case "predicted":
                self._predictions.labels(fields.get("name", "")).inc(fields["batch"])
                self._cost("online", fields)
            case _:
                pass

    def page(self) -> Callable[..., Iterable[bytes]]:
        """Return the page as a WSGI application."""
        from prometheus_client import make_wsgi_app

        page: Callable[..., Iterable[bytes]] = make_wsgi_app(self._registry)
        return page

    def _cost(self, phase: str, fields: dict[str, Any]) -> None:
        self._seconds.labels(phase).observe(fields["seconds"])
        for direction in ("up", "down"):
            self._bytes.labels(phase, direction).inc(fields[f"{direction}_bytes"])


class _BuildInfo:
    """The metric ``deepreduce_build_info``: the version, and each plan that is served now."""

    def __init__(self, served: Callable[[], ServerResources | None]) -> None:
        self._served = served

    def collect(self) -> Iterator[Any]:
        """Yield the metric, as prometheus_client asks for it."""
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(
            "deepreduce_build_info", "1 for each plan that is served", labels=["version", "name", "plan", "weights"]
        )
        resources = self._served()
        for name, one in ({} if resources is None else resources.plans).items():
            family.add_metric([__version__, name, one.digest, one.weights_digest], 1)
        yield family
