"""Disables core dumps: a process that holds secrets leaves no image of its memory behind."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

VARIABLE = "DEEPREDUCE_ALLOW_CORE"
PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid_core_files() -> None:
    """No core file, also none for a program that the kernel would pipe it to, and no other process of this user may
    attach to this one (a debugger, strace) or read its memory. $DEEPREDUCE_ALLOW_CORE=1 leaves everything as it is.

    The children of a fork inherit it; a program that is executed may leave no core file, but must call this itself for
    the rest. On Linux the files in /proc/PID belong to root from then on.
    """
    if os.environ.get(VARIABLE, "") not in ("", "0"):
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def forbid_as_parent() -> None:
    """Forbid core files again in a program executed by a process that had forbidden them."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        forbid_core_files()
