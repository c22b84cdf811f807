"""What came of a run, and how long anything may take."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .network import is_right
from .schedule import Schedule, expected

TIMEOUT_S = 3.0  # how long a party waits for its peer
LIMIT_S = 20.0  # from the fault until both sides have ended: two time limits, two lingers, and a busy machine
CLEAN_S = 60.0  # for what nothing disturbs
ONE_LINE = 300  # characters
UNDUE = "an answer, though an error was due"


@dataclass
class Outcome:
    """``failures``: what must not have happened; empty when all is well."""

    schedule: Schedule
    applied: bool = False
    ended: str = ""  # "exact", "error", "killed"
    error: str = ""
    client_s: float | None = None  # from the fault to the asking party's end
    server_s: float | None = None  # to the end of the server's session
    late: bool = False  # the machine was too slow for a time limit, so the run was repeated
    failures: list[str] = field(default_factory=list)

    def answered(self, y: object) -> None:
        """The asking party got an answer."""
        self.ended = "exact"
        if y is None or not is_right(np.asarray(y)):
            self.failures.append(f"a wrong answer: {y}")
        if expected(self.schedule) == "error":
            self.failures.append(UNDUE)

    def failed_with(self, text: str) -> None:
        """It got an error."""
        self.ended, self.error = "error", text
        if "\n" in text or len(text) > ONE_LINE or "Traceback" in text:
            self.failures.append(f"an error that is not one line: {text!r}")
        if expected(self.schedule) == "exact":
            self.failures.append(f"an error, though nothing was lost: {text}")
