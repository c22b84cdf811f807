"""What nobody may say: tracebacks, in the log, of a thread, or of an object that is forgotten."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """While open, what should not be said comes into the list; other log entries of ours go nowhere."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                heard.append(f"a traceback in the log: {record.getMessage()}: {record.exc_info[1]!r}")
            elif "\n" in record.getMessage():
                heard.append(f"a log entry of several lines: {record.getMessage()!r}")

    logger, listener = logging.getLogger("deepreduce"), Listener()
    level, propagate = logger.level, logger.propagate
    thread_hook, other_hook = threading.excepthook, sys.unraisablehook
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    threading.excepthook = lambda found: heard.append(f"a thread died: {found.exc_value!r}")
    sys.unraisablehook = lambda found: heard.append(f"an error that nobody saw: {found.exc_value!r}")
    try:
        yield heard
    finally:
        threading.excepthook, sys.unraisablehook = thread_hook, other_hook
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate
