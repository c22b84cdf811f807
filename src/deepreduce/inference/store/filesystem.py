"""File system of a store: one-time use rests on locks, renames and syncs, which network file systems may not keep."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import StoreError

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    {
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "davfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
    }
    | {f"fuse.{kind}" for kind in ("gcsfuse", "glusterfs", "rclone", "s3fs", "sshfs")}
)


def refuse_network_folder(folder: Path, mounts: Path = MOUNTS) -> None:
    """Raise `StoreError` if ``folder``, or where it would be made, is on a network file system. Where the system does
    not say (``mounts`` cannot be read), nothing is refused.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    place, best, kind = folder.absolute().resolve(), Path("/"), ""
    for line in lines:
        before, found, after = line.partition(" - ")
        fields = before.split()
        if not found or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if place.is_relative_to(point) and (point.is_relative_to(best) or not kind):
            best, kind = point, after.split(" ", 1)[0]
    if kind in NETWORK:
        raise StoreError(
            f"{folder} is on a network file system ({kind} at {best}), where prepared material could be used twice",
            "choose a folder on a local disk for the store",
        )
