"""Safe reading of .npy files: the array is mapped, and no length is believed that the file does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, one_line

MAX_HEADER = 1 << 16


def read_array(path: Path) -> NDArray[Any]:
    """Return the array in the file, read-only. Raises `DataError` for a file that is missing, or holds no
    single array.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
        # Since version 2 of the format four bytes say how long the header is, and numpy allocates that.
        if head[:6] == b"\x93NUMPY" and head[6:7] != b"\x01" and int.from_bytes(head[8:12], "little") > MAX_HEADER:
            raise ValueError("its header is too long")
        # Mapped: an array that the file is too short for would be allocated, too.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} is missing", "check the path") from None
    except Exception as error:  # numpy reads the header as Python: whatever its bytes lead to
        raise DataError(f"{path} holds no array: {one_line(error):.200}", "write it with numpy.save") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise DataError(f"{path} holds several arrays", "give one a file, written with numpy.save")
    return found
