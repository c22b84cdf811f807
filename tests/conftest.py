"""Shared by all tests: helper modules beside this file can be imported, and one thread per test process."""

import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
with contextlib.suppress(ImportError):  # the tests marked `core` need the compiled module and numpy only
    import torch

    torch.set_num_threads(1)
