"""Sources of the store key: a file, a service's credential, or the keyring.

One key of 32 random bytes locks all stores of a user; each store derives its own from it (wrapping.py). A source that
has none makes one, but only for a store that is new: a store that is there was locked with some key already.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...errors import StoreError
from ...locks import lock
from ...paths import store_key_file
from ..zeroize import fresh_key, wipe
from .files import sync_folder, write_all

KEY = 32
VARIABLE = "DEEPREDUCE_STORE_KEY"
CREDENTIAL = "deepreduce-store-key"  # its name within $CREDENTIALS_DIRECTORY
SERVICE, ENTRY = "deepreduce", "store key"  # in the keyring
HINT = "check its permissions, or name another file with `store_key`"


class KeySource(Protocol):
    """A place for a key. ``name``: for messages."""

    @property
    def name(self) -> str:
        """Name in messages."""

    def read(self) -> bytearray | None:
        """Return the key; None if there is none. Raises `StoreError` where it cannot be used as it is."""

    def make(self) -> bytearray:
        """Return a new key, unless another process has just made one: then that. Raises `StoreError`."""

    def is_within(self, folder: Path) -> bool:
        """Return whether it lies in the folder that it would lock."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """File of 32 bytes that only its owner may read; ``given``: the system made the file for this process."""

    path: Path
    given: bool = False

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"the key file {self.path}"

    def read(self) -> bytearray | None:
        """Return its content."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                found = os.fstat(file)
                key = bytearray(KEY)
                count = os.readv(file, [key]) if stat.S_ISREG(found.st_mode) else 0
            finally:
                os.close(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.path, error) from None
        # systemd lets the service's user read a credential by an access list, which shows as a bit of the group's.
        if found.st_mode & (0o007 if self.given else 0o077):
            wipe(key)
            raise StoreError(f"others may read {self.name}", f"chmod 600 {self.path}, unless it was read")
        if count != KEY or found.st_size != KEY:
            wipe(key)
            raise StoreError(f"{self.name} is not a file of {KEY} bytes", "name the right one, or a new file")
        return key

    def make(self) -> bytearray:
        """Whole or not at all, and never over a file that is there."""
        if self.given:
            raise StoreError(f"{self.name} is missing", "give the service its credential")
        temporary = self.path.with_name(f".{self.path.name}.{os.urandom(8).hex()}.tmp")
        key = fresh_key(KEY)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_all(file, memoryview(key))
                os.fsync(file)
            finally:
                os.close(file)
            with suppress(FileExistsError):
                os.link(temporary, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise _unusable(self.path, error) from None
        finally:
            wipe(key)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        found = self.read()
        if found is None:
            raise StoreError(f"{self.name} was removed", "try again")
        return found

    def is_within(self, folder: Path) -> bool:
        """Return whether it lies in the folder that it would lock."""
        return self.path.absolute().resolve().is_relative_to(folder.absolute().resolve())


@dataclass(frozen=True, slots=True)
class Keyring:
    """The user's, through the package `keyring`: macOS's, Secret Service, KWallet ..."""

    backend: Any
    name: str = "the keyring"

    @classmethod
    def usable(cls) -> Keyring | None:
        """None where the package, or a keyring that is locked with a user's log-in, is missing."""
        try:
            import keyring

            backend = keyring.get_keyring()
            # Below 1 are those that keep nothing, or keep it unencrypted.
            return cls(backend) if backend.priority >= 1 else None
        except Exception:  # other people's plug-ins: whatever they raise, there is no keyring
            return None

    def read(self) -> bytearray | None:
        """Return the entry's bytes."""
        with _keyring_errors():
            text = self.backend.get_password(SERVICE, ENTRY)
        if text is None:
            return None
        try:
            key = bytearray(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            key = bytearray()
        if len(key) != KEY:
            raise StoreError(f"the entry {ENTRY!r} of {self.name} is not a key of {KEY} bytes", "remove it")
        return key

    def make(self) -> bytearray:
        """Return one process at a time: a key that another has made counts."""
        with _alone(store_key_file().with_name("keyring.lock")):
            found = self.read()
            if found is None:
                with _keyring_errors():
                    self.backend.set_password(SERVICE, ENTRY, base64.b64encode(os.urandom(KEY)).decode())
                found = self.read()
        if found is None:
            raise StoreError(f"{self.name} does not keep what is put into it", "give `store_key` FILE")
        return found

    def is_within(self, folder: Path) -> bool:
        """Never."""
        return False


def key_sources(given: Path | str | None) -> tuple[KeySource, ...]:
    """Return where to look, the best first: the file that is given, or $DEEPREDUCE_STORE_KEY names, or the credential
    of a service; else the user's keyring, if there is one, and the file in the user's configuration folder.
    """
    if given is not None:
        return (KeyFile(Path(given)),)
    if named := os.environ.get(VARIABLE):
        return (KeyFile(Path(named).expanduser()),)
    credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / CREDENTIAL
    if credential.is_absolute() and credential.exists():
        return (KeyFile(credential, given=True),)
    keyring, file = Keyring.usable(), KeyFile(store_key_file())
    return (file,) if keyring is None else (keyring, file)


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"the key file {path} cannot be used: {error.strerror or error}", HINT)


@contextmanager
def _keyring_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of any backend
        raise StoreError(
            f"the keyring cannot be used: {type(error).__name__}", "unlock it, or give `store_key` FILE"
        ) from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        lock(file)
        yield
    finally:
        os.close(file)
