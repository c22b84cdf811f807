"""Named objects at a place that many machines see: a folder, or any URL that fsspec reads (s3://bucket/prefix ...).

A reader of an object sees all of it or none; `create` never replaces one. Object stores give both by themselves, a
folder by renaming and linking. Of other file systems fsspec promises less: there an object is written under another
name and moved, and `create` may let two writers through that come at the same moment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ...errors import DeepReduceError, MissingPackageError, SettingError, StoreError, one_line
from ...files import write_whole

WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})  # an object is there when its put ends
TEMPORARY = ".part-"
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class UnreachableError(StoreError):
    """A store that could not be read or written: another try may help."""


class Objects(Protocol):
    """Objects by name (``jobs/ab12/metrics.json``). Methods raise `UnreachableError` when the place fails."""

    url: str

    def read(self, name: str) -> bytes | None:
        """Return the object's content; None if there is none of that name."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a new object; False, and nothing changed, if there is one."""

    def upload(self, path: Path, name: str) -> None:
        """Write the object, or replace it, with the file's content."""

    def download(self, name: str, path: Path) -> bool:
        """Write the object's content to the file ``path``, whole or not at all; False if the object does not exist."""

    def names(self, folder: str) -> list[str]:
        """Names, without the folder's, of the objects directly in ``folder``."""

    def delete(self, name: str) -> None:
        """Remove the object, if there is one."""


def open_object_store(url: str) -> Objects:
    """Objects below ``url``, which is a folder's path or a URL. Nothing is read or written yet.

    Raises `SettingError` for a URL of no known kind, `MissingPackageError` naming what its kind needs.
    """
    protocol, separator, rest = url.partition("://")
    if not separator or protocol == "file":
        if not (rest if separator else url):
            raise SettingError(f"store {url!r} names no folder", "give a folder, or a URL like s3://bucket/prefix")
        return FolderObjects(Path(rest if separator else url).expanduser().absolute())
    try:
        import fsspec
    except ImportError as error:
        raise MissingPackageError(f"store {url} needs fsspec", "pip install 'deepreduce[cluster]'") from error
    try:
        return FsspecObjects(url, fsspec.get_filesystem_class(protocol))
    except ImportError as error:
        raise MissingPackageError(f"store {url} needs a package: {one_line(error)}", "pip install it") from error
    except ValueError as error:
        raise SettingError(f"store {url!r} cannot be used: {one_line(error)}", "as s3://bucket/prefix") from error


class FolderObjects:
    """Files below ``root``, which may be a network file system's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def read(self, name: str) -> bytes | None:
        """See `Objects`."""
        with _failures(self.url, name):
            try:
                return (self.root / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def create(self, name: str, content: bytes) -> bool:
        """See `Objects`: a link to a whole file, which the file system refuses where there is one of that name."""
        with _failures(self.url, name):
            path = self.root / name
            temporary = write_whole(_beside(path), content)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                if path.exists():
                    return False
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            return True

    def upload(self, path: Path, name: str) -> None:
        """See `Objects`."""
        with _failures(self.url, name):
            _copy(path, self.root / name)

    def download(self, name: str, path: Path) -> bool:
        """See `Objects`."""
        with _failures(self.url, name):
            try:
                _copy(self.root / name, path)
            except FileNotFoundError:
                if (self.root / name).exists():
                    raise
                return False
            return True

    def names(self, folder: str) -> list[str]:
        """See `Objects`."""
        with _failures(self.url, folder):
            try:
                return sorted(p.name for p in (self.root / folder).iterdir() if TEMPORARY not in p.name)
            except (FileNotFoundError, NotADirectoryError):
                return []

    def delete(self, name: str) -> None:
        """See `Objects`."""
        with _failures(self.url, name):
            (self.root / name).unlink(missing_ok=True)


class FsspecObjects:
    """Objects below an fsspec URL; addresses and credentials come from the usual places of its kind."""

    def __init__(self, url: str, filesystem: Any) -> None:
        self.url = url.rstrip("/")
        self._whole = url.partition("://")[0] in WHOLE
        self._class = filesystem
        self._opened: Any = None

    @property
    def _fs(self) -> Any:
        """Opened at first use; what others write is seen at once, so nothing is cached."""
        if self._opened is None:
            options = self._class._get_kwargs_from_urls(self.url)
            self._opened = self._class(**options, use_listings_cache=False, skip_instance_cache=True)
        return self._opened

    def _path(self, name: str) -> str:
        return f"{self._class._strip_protocol(self.url)}/{name}"

    def read(self, name: str) -> bytes | None:
        """See `Objects`."""
        with _failures(self.url, name):
            try:
                content: bytes = self._fs.cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return content

    def create(self, name: str, content: bytes) -> bool:
        """See `Objects`."""
        with _failures(self.url, name):
            self._make_folder(name)
            try:
                if self._whole:
                    self._fs.pipe_file(self._path(name), content, mode="create")
                    return True
                if self._fs.exists(self._path(name)):
                    return False
                temporary = self._path(name) + _suffix()
                self._fs.pipe_file(temporary, content)
                self._fs.mv(temporary, self._path(name))
            except OSError as error:  # s3fs has no FileExistsError for a condition that was not met
                if isinstance(error, FileExistsError) or "PreconditionFailed" in repr(error.__cause__ or error):
                    return False
                raise
            return True

    def upload(self, path: Path, name: str) -> None:
        """See `Objects`."""
        with _failures(self.url, name):
            self._make_folder(name)
            if self._whole:
                self._fs.put_file(str(path), self._path(name))
                return
            temporary = self._path(name) + _suffix()
            self._fs.put_file(str(path), temporary)
            self._fs.mv(temporary, self._path(name))

    def download(self, name: str, path: Path) -> bool:
        """See `Objects`."""
        with _failures(self.url, name):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = _beside(path)
            try:
                self._fs.get_file(self._path(name), str(temporary))
                temporary.replace(path)
            except FileNotFoundError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
            return True

    def names(self, folder: str) -> list[str]:
        """See `Objects`."""
        with _failures(self.url, folder):
            try:
                found = self._fs.ls(self._path(folder), detail=False, refresh=True)
            except FileNotFoundError:
                return []
            names = (str(path).rstrip("/").rpartition("/")[2] for path in found)
            return sorted(name for name in names if TEMPORARY not in name)

    def delete(self, name: str) -> None:
        """See `Objects`."""
        with _failures(self.url, name), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def _make_folder(self, name: str) -> None:
        if not self._whole:
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)


@contextlib.contextmanager
def _failures(url: str, name: str) -> Iterator[None]:
    """Whatever a file system raises, as one kind of error; its packages have many."""
    try:
        yield
    except DeepReduceError as error:
        raise UnreachableError(error.message, error.hint) from error
    except Exception as error:
        raise UnreachableError(
            f"store {url}: {name} cannot be read or written: {one_line(error)}",
            "check its address, credentials and room; the same command goes on",
        ) from error


def _copy(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:
        shutil.copyfile(source, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + _suffix())


def _suffix() -> str:
    return TEMPORARY + secrets.token_hex(8)
