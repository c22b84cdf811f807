"""Events of a server for its operator, written to the log and passed to observers; they hold no secrets.

An event is a name and a few numbers or fixed texts. The texts of errors say what was malformed, not its content.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

Name = Literal[
    "serving",
    "opened",
    "listed",
    "closed",
    "prepared",
    "predicted",
    "refused",
    "failed",
    "configured",
    "stopping",
    "stopped",
]
EventObserver = Callable[[Name, dict[str, Any]], None]

log = logging.getLogger("deepreduce.server")
LEVELS = {"refused": logging.WARNING, "failed": logging.ERROR}


def emit(name: Name, observers: tuple[EventObserver, ...] = (), /, **fields: Any) -> None:
    """Logs an event and hands it to the observers."""
    shown = {key: value for key, value in fields.items() if value is not None}
    text = " ".join(f"{key}={_shown(value)}" for key, value in shown.items())
    log.log(LEVELS.get(name, logging.INFO), "%s %s", name, text, extra={"event": name, "fields": shown})
    for observer in observers:
        try:
            observer(name, shown)
        except Exception as error:  # who only watches must not end what is watched
            log.error("an observer failed: %s", type(error).__name__, exc_info=error)


class JsonLines(logging.Formatter):
    """A line of JSON for each record: time (UTC, ISO 8601), level, process, event, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {"time": f"{stamp}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        line["process"] = record.process
        event = getattr(record, "event", None)
        line |= {"event": "message", "text": record.getMessage()} if event is None else {"event": event}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    text = str(value)
    return json.dumps(text) if " " in text else text
