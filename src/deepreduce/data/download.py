"""Fetching an official archive once and unpacking the files we read, and nothing else, from it."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import DataError, MissingPackageError


@dataclass(frozen=True)
class Archive:
    """A published archive: where it is, its checksum, the folder it unpacks to and which of its files are read.

    ``wanted`` decides by the path inside ``folder``; ``listing`` describes those files to a person who must fetch them
    by hand.
    """

    url: str
    md5: str
    folder: str
    wanted: Callable[[PurePosixPath], bool]
    listing: str


def ensure(archive: Archive, root: Path) -> Path:
    """``root / archive.folder``, downloaded and unpacked first when it is absent.

    A folder that is there is never touched: what is missing inside it is for the reader to name. Raises `DataError`
    when the archive cannot be fetched or unpacked, `MissingPackageError` without pooch.
    """
    target = root / archive.folder
    if target.is_dir():
        return target
    try:
        import pooch
    except ImportError as error:
        raise MissingPackageError(
            f"{target} is missing, and fetching it needs pooch",
            f"pip install 'deepreduce[search]', or {_by_hand(archive)}",
        ) from error
    name = archive.url.rpartition("/")[2]
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = Path(pooch.retrieve(archive.url, known_hash=f"md5:{archive.md5}", fname=name, path=root))
        unpack(file, archive, root)
        file.unlink()
    except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:  # pooch: ValueError for a bad checksum
        raise DataError(
            f"{target} is missing, and fetching it failed: {error}", f"set DEEPREDUCE_DATA, or {_by_hand(archive)}"
        ) from error
    return target


def unpack(file: Path, archive: Archive, root: Path) -> None:
    """Unpack the wanted members of ``file`` (tar or zip): ``root / archive.folder`` appears complete or not at all.

    Only the bytes of regular files are taken, each to a path that was checked, so links, devices, permissions and paths
    that climb out of the folder have no effect, whatever the archive holds.
    """
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{archive.folder}-") as scratch:
        for path, content in _members(file):
            if path.parts[:1] != (archive.folder,) or len(path.parts) == 1 or ".." in path.parts:
                continue
            if archive.wanted(path.relative_to(archive.folder)):
                destination = Path(scratch, path)
                destination.parent.mkdir(parents=True, exist_ok=True)
                with destination.open("wb") as out, closing(content()) as source:
                    shutil.copyfileobj(source, out)
        unpacked = Path(scratch, archive.folder)
        if not unpacked.is_dir():
            raise DataError(f"{file} holds no {archive.folder}/", f"expected {archive.listing}")
        try:
            unpacked.replace(root / archive.folder)
        except OSError:
            if not (root / archive.folder).is_dir():  # otherwise another process was faster: its copy is as good
                raise


def _members(file: Path) -> Iterator[tuple[PurePosixPath, Callable[[], IO[bytes]]]]:
    """Yield the regular files of a tar or zip archive, in stored order: the path, and how to open the content."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield PurePosixPath(entry.filename), partial(archive.open, entry)
        return
    with tarfile.open(file) as tar:
        for member in tar:
            if member.isfile():
                yield PurePosixPath(member.name), partial(_extract, tar, member)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None, "only links and devices have no content"
    return content


def _by_hand(archive: Archive) -> str:
    return f"fetch {archive.url} by hand and unpack it there: {archive.listing}"
