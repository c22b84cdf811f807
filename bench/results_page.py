"""A page of bench/results: what ran where, with which versions and which command, and its tables."""

import datetime
import os
import platform
import re
import shlex
import sys
from pathlib import Path

import numpy as np

import deepreduce
from deepreduce.processor import processor_name

try:
    from deepreduce import _core

    KERNELS = f", kernels {_core.cpu_path()}"
except ImportError:  # the learning half alone: from a source tree that was not built
    KERNELS = ""

RESULTS = Path(__file__).parent / "results"


def hardware() -> str:
    """A short name of this machine for file names; --hardware overrides it."""
    return re.sub(r"[^a-z0-9]+", "-", f"{os.cpu_count()}-core {processor_name()}".lower().replace("(r)", "")).strip("-")


def path(theme: str, machine: str) -> Path:
    """bench/results/<theme>_<hardware>_<date>.md"""
    RESULTS.mkdir(exist_ok=True)
    return RESULTS / f"{theme}_{machine}_{datetime.date.today()}.md"


def _script() -> str:
    path = Path(sys.argv[0]).resolve()
    return str(path.relative_to(RESULTS.parents[1])) if path.is_relative_to(RESULTS.parents[1]) else path.name


def head(title: str, about: str) -> str:
    """The beginning of a page."""
    command = f"$ python {shlex.join([_script(), *sys.argv[1:]])}"
    return f"""# {title}, {datetime.date.today()}

{processor_name()}, {os.cpu_count()} cores{KERNELS}; deepreduce {deepreduce.__version__}, Python
{platform.python_version()}, numpy {np.__version__}, {platform.system()} {platform.machine()}.

```
{command}
```

{about}

"""


def table(headers: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all but the first column are aligned to the right."""
    lines = ["| " + " | ".join(headers) + " |", "|---|" + "---:|" * (len(headers) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"
