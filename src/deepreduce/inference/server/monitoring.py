"""The operator's HTTP page: /metrics for Prometheus, /healthz (the process lives), /readyz (it accepts sessions)."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from ...errors import SettingError
from ..checks import check_between
from .metrics import Metrics

REQUEST_S = 10.0  # for one request; probes and Prometheus wait no longer
TEXT = [("Content-Type", "text/plain; charset=utf-8")]

Respond = Callable[[str, list[tuple[str, str]]], object]


class MonitoringServer:
    """Serves the page (plain HTTP) until `close`. ``not_ready``: why no session is accepted now; None: it is.

    Raises `SettingError` where it cannot listen.
    """

    def __init__(self, host: str, port: int, metrics: Metrics, not_ready: Callable[[], str | None]) -> None:
        check_between("port", port, 0, 65535)
        self._metrics, self._not_ready = metrics.page(), not_ready
        try:
            self._server = (_Server6 if ":" in host else _Server)((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise SettingError(f"cannot listen on {host}:{port}: {error}", "choose another address or port") from None
        self._server.set_app(self._answer)
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="deepreduce-monitoring", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more requests."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        match request["PATH_INFO"]:
            case "/metrics":
                return self._metrics(request, respond)
            case "/healthz":
                status, text = "200 OK", "ok"
            case "/readyz":
                reason = self._not_ready()
                status, text = ("200 OK", "ok") if reason is None else ("503 Service Unavailable", reason)
            case _:
                status, text = "404 Not Found", "known: /metrics, /healthz, /readyz"
        respond(status, list(TEXT))
        return [f"{text}\n".encode()]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without a look-up of the machine's name, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "", self.server_address[1]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""
