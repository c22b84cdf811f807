"""The key of a store: where it comes from, that nothing is ready without it, and that a wrong one costs nothing."""

import base64
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import numpy as np
import pytest

from deepreduce.errors import StoreError
from deepreduce.inference.protocol.material import Plain
from deepreduce.inference.store import ClientStore, Purpose, ServerStore
from deepreduce.inference.store.encrypted_file import DamagedError, unseal
from deepreduce.inference.store.key_sources import CREDENTIAL, ENTRY, SERVICE, KeyFile
from deepreduce.inference.store.store import _bound

PURPOSE = Purpose("peer", "plan", "ot", 1)
CONTENT = Plain({"mask": np.frombuffer(b"a mask of an image " * 20, np.uint8)}, {})
IDS = [bytes([number]) * 16 for number in range(2)]


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.entries = {}

    def get_password(self, service, username):
        return self.entries.get((service, username))

    def set_password(self, service, username, password):
        self.entries[service, username] = password


class Locked(Ring):
    def get_password(self, service, username):
        raise keyring.errors.KeyringLocked("the user said no")


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """A user without settings and without a keyring."""
    monkeypatch.delenv("DEEPREDUCE_STORE_KEY")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    yield tmp_path / "config" / "deepreduce" / "store.key"
    keyring.set_keyring(before)


def filled(folder, **settings):
    store = ClientStore(folder, **settings)
    for batch_id in IDS:
        store.add(batch_id, PURPOSE, bytes(32), CONTENT)
    return store


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unchanged_but_refused(folder, match, **settings):
    before = everything(folder)
    with pytest.raises(StoreError, match=match) as failure:
        ClientStore(folder, **settings)
    assert "\n" not in str(failure.value)
    assert failure.value.hint
    assert everything(folder) == before


def rows(folder, change="SELECT id, key FROM batches ORDER BY number", *values):
    with sqlite3.connect(folder / "store.sqlite") as db:
        return db.execute(change, values).fetchall()


def secrets_of(store):
    """Everything that must not be read from its folder."""
    keys = [bytes(store._wrapping.unwrap(key, _bound(one, PURPOSE))) for one, key in rows(store.folder)]
    return [*keys, bytes(store._secret)]


# --- what the folder tells -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["client", "server"])
def test_the_folder_alone_tells_nothing_of_what_is_ready(tmp_path, role):
    folder, key = tmp_path / "s", tmp_path / "key"
    if role == "client":
        store = filled(folder, key=key)
    else:
        store = ServerStore(folder, 10**9, 10**9, key=key)
        store.add(IDS[0], PURPOSE, bytes(32), CONTENT)
    secrets = secrets_of(store)
    assert {len(secret) for secret in secrets} == {32}
    store.close()
    on_disk = b"".join(everything(folder).values())
    assert b"a mask of an image" not in on_disk
    for secret in [*secrets, key.read_bytes()]:
        assert secret not in on_disk
    for batch_id, wrapped in rows(folder):
        with (folder / "batches" / batch_id.hex()).open("rb") as file:
            for guess in (wrapped[:32], wrapped[-32:], key.read_bytes()):
                with pytest.raises(DamagedError):
                    unseal(file.fileno(), guess, batch_id)
            assert np.array_equal(
                unseal(file.fileno(), secrets[0] if batch_id == IDS[0] else secrets[1], batch_id).arrays["mask"],
                CONTENT.arrays["mask"],
            )


def test_two_stores_under_one_key_share_nothing(tmp_path):
    one, other = (filled(tmp_path / name, key=tmp_path / "key") for name in "ab")
    (batch_id, wrapped), *_ = rows(one.folder)
    rows(other.folder, "UPDATE batches SET key = ? WHERE id = ?", wrapped, batch_id)
    with pytest.raises(StoreError, match="does not open it"):
        other.claim(batch_id, "peer")


@pytest.mark.parametrize("field", ["peer", "plan", "protocol", "batch", "key"])
def test_a_key_serves_its_own_batch_alone(tmp_path, field):
    """Neither another row's key nor a row with another name: the batch is lost, and nothing of it is read."""
    store = filled(tmp_path / "s")
    value = {"batch": 2, "key": rows(store.folder)[1][1]}.get(field, "another")
    rows(store.folder, f"UPDATE batches SET {field} = ? WHERE id = ?", value, IDS[0])
    with pytest.raises(StoreError, match="does not open it"):
        store.claim(IDS[0], "another" if field == "peer" else "peer")
    assert store.claim(IDS[1], "peer") is not None


# --- the wrong key, and none -----------------------------------------------------------------------------------------


def test_a_wrong_key_costs_nothing(tmp_path):
    folder = tmp_path / "s"
    filled(folder, key=tmp_path / "key").close()
    KeyFile(tmp_path / "other").make()
    unchanged_but_refused(folder, "locked with another key than the key file .*other", key=tmp_path / "other")
    unchanged_but_refused(folder, "locked, and there is no key in the key file .*none", key=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    store = ClientStore(folder, key=tmp_path / "key")
    assert not store.notices
    assert [store.claim_next(PURPOSE).batch_id for _ in IDS] == IDS


def test_key_files_that_are_refused(tmp_path):
    (tmp_path / "open").write_bytes(bytes(32))
    (tmp_path / "open").chmod(0o640)
    for size in (0, 31, 33):
        path = tmp_path / str(size)
        path.write_bytes(bytes(size))
        path.chmod(0o600)
        with pytest.raises(StoreError, match="is not a file of 32 bytes"):
            ClientStore(tmp_path / "s", key=path)
    with pytest.raises(StoreError, match="others may read"):
        ClientStore(tmp_path / "s", key=tmp_path / "open")
    with pytest.raises(StoreError, match="is not a file of 32 bytes"):
        ClientStore(tmp_path / "s", key=tmp_path)
    with pytest.raises(StoreError, match="cannot be used: Not a directory"):
        ClientStore(tmp_path / "s", key=tmp_path / "0" / "key")
    (tmp_path / "link").symlink_to(tmp_path / "s")
    for inside in (tmp_path / "s" / "key", tmp_path / "link" / "key", tmp_path / "s" / "batches" / "key"):
        with pytest.raises(StoreError, match="lies in the store that it locks"):
            ClientStore(tmp_path / "s", key=inside)
    filled(tmp_path / "s", key=tmp_path / "key").close()  # and after all that it can be used


# --- where it comes from ---------------------------------------------------------------------------------------------


def test_a_key_file_is_made_once_and_told_once(at_home, tmp_path, caplog):
    before = os.umask(0)
    try:
        store = filled(tmp_path / "s")
    finally:
        os.umask(before)
    assert [str(at_home) in message for message in caplog.messages] == [True]
    assert stat.S_IMODE(at_home.stat().st_mode) == 0o600
    assert [path.name for path in at_home.parent.iterdir()] == ["store.key"]
    key = at_home.read_bytes()
    assert len(set(key)) > 8
    store.close()
    ClientStore(tmp_path / "s").close()
    ServerStore(tmp_path / "another", 10**9, 10**9).close()
    assert len(caplog.messages) == 1
    assert at_home.read_bytes() == key
    at_home.unlink()
    unchanged_but_refused(tmp_path / "s", "locked, and there is no key in")
    assert not at_home.exists()


def test_the_variable_and_the_credential_of_a_service(at_home, tmp_path, monkeypatch):
    credential = tmp_path / "credentials" / CREDENTIAL
    credential.parent.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credential.parent))
    ClientStore(tmp_path / "without").close()  # a service that was given other credentials only
    assert at_home.exists()
    credential.write_bytes(os.urandom(32))
    credential.chmod(0o440)  # as an access list shows
    filled(tmp_path / "s").close()
    unchanged_but_refused(tmp_path / "s", "another key", key=at_home)
    credential.chmod(0o444)
    unchanged_but_refused(tmp_path / "s", "others may read")
    credential.chmod(0o440)
    monkeypatch.setenv("DEEPREDUCE_STORE_KEY", str(at_home))
    unchanged_but_refused(tmp_path / "s", "another key than the key file .*store.key")


def test_the_keyring(at_home, tmp_path, caplog):
    ring = Ring()
    keyring.set_keyring(ring)
    store = filled(tmp_path / "s")
    assert ["the keyring" in message for message in caplog.messages] == [True]
    assert not at_home.exists()
    ((name, text),) = ring.entries.items()
    assert name == (SERVICE, ENTRY)
    assert len(base64.b64decode(text)) == 32
    store.close()
    other = ServerStore(tmp_path / "other", 10**9, 10**9)
    other.close()
    assert len(caplog.messages) == len(ring.entries) == 1
    keyring.set_keyring(keyring.backends.fail.Keyring())  # logged in without it
    unchanged_but_refused(tmp_path / "s", "locked, and there is no key in the key file")
    keyring.set_keyring(Locked())
    unchanged_but_refused(tmp_path / "s", "the keyring cannot be used: KeyringLocked")
    keyring.set_keyring(ring)
    assert ClientStore(tmp_path / "s").count(PURPOSE) == len(IDS)
    ring.entries[name] = "no key"
    unchanged_but_refused(tmp_path / "s", "is not a key of 32 bytes")


def test_a_keyring_that_comes_later_leaves_the_key_file_in_force(at_home, tmp_path):
    filled(tmp_path / "s").close()
    keyring.set_keyring(Ring())
    assert ClientStore(tmp_path / "s").claim_next(PURPOSE).batch_id == IDS[0]
    keyring.set_keyring(Locked())
    assert ClientStore(tmp_path / "s").claim_next(PURPOSE).batch_id == IDS[1]


def test_a_keyring_that_keeps_nothing_is_none(at_home, tmp_path):
    class Weak(Ring):
        priority = 0.5

    keyring.set_keyring(Weak())
    ClientStore(tmp_path / "s").close()
    assert at_home.exists()


def make(folder, key, start, out):
    start.wait()
    store = ClientStore(folder, key=key)
    out.put((key.read_bytes(), store.identity("server")))


def test_processes_that_race_make_one_key(tmp_path):
    context = multiprocessing.get_context("spawn")
    start, out = context.Barrier(3), context.Queue()
    racers = [context.Process(target=make, args=(tmp_path / "s", tmp_path / "key", start, out)) for _ in range(3)]
    for racer in racers:
        racer.start()
    found = {out.get(timeout=60) for _ in racers}
    for racer in racers:
        racer.join()
    assert len(found) == 1


# --- stores of format 1 ----------------------------------------------------------------------------------------------


def as_format_1(store):
    """The same store as the versions before wrote it: keys and identity as they are."""
    *keys, secret = secrets_of(store)
    store.close()
    with sqlite3.connect(store.folder / "store.sqlite") as db:
        for batch_id, key in zip([row[0] for row in rows(store.folder)], keys, strict=True):
            db.execute("UPDATE batches SET key = ? WHERE id = ?", (key, batch_id))
        name = "identity" if isinstance(store, ClientStore) else "secret"
        db.execute("DELETE FROM facts WHERE name IN ('salt', 'secret')")
        db.execute("INSERT INTO facts VALUES (?, ?)", (name, secret))
        db.execute("PRAGMA user_version = 1")
    return [*keys, secret]


def test_a_client_s_store_of_format_1_is_locked_when_opened(tmp_path):
    secrets = as_format_1(filled(tmp_path / "s"))
    assert all(secret in (tmp_path / "s" / "store.sqlite").read_bytes() for secret in secrets)
    store = ClientStore(tmp_path / "s")
    assert "was not locked and now is" in store.notices[0]
    assert bytes(store._secret) == secrets[-1]
    on_disk = b"".join(everything(tmp_path / "s").values())
    assert not any(secret in on_disk for secret in secrets)
    store.close()
    store = ClientStore(tmp_path / "s")
    assert not store.notices
    assert [store.claim_next(PURPOSE).batch_id for _ in IDS] == IDS


def test_a_server_s_store_of_format_1_keeps_its_name(tmp_path):
    store = ServerStore(tmp_path / "s", 10**9, 10**9)
    store.add(IDS[0], PURPOSE, bytes(32), CONTENT)
    name = store.identity("plan")
    as_format_1(store)
    store = ServerStore(tmp_path / "s", 10**9, 10**9)
    assert store.identity("plan") == name
    assert store.claim(IDS[0], "peer") is not None


KILLED = """
import os, signal, sqlite3, sys
from deepreduce.inference.store import ClientStore, database
class Connection(sqlite3.Connection):
    def execute(self, statement, *values):
        Connection.left -= 1
        if not Connection.left:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(statement, *values)
Connection.left = int(sys.argv[2])
connect = sqlite3.connect
database.sqlite3.connect = lambda *a, **k: connect(*a, **k, factory=Connection)
ClientStore(sys.argv[1])
"""


def test_locking_an_older_store_is_whole_or_not_at_all(tmp_path):
    """Killed before each statement: either as it was, or locked; and opened again all is there."""
    states, secrets = set(), as_format_1(filled(tmp_path / "s"))
    for statement in range(9, 60, 3):
        done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "s", str(statement)], check=False)
        if done.returncode == 0:
            break
        with sqlite3.connect(tmp_path / "s" / "store.sqlite") as db:  # and rolls back what was begun
            keys = {row[0] for row in db.execute("SELECT key FROM batches")}
            version = db.execute("PRAGMA user_version").fetchone()[0]
        assert (version == 1) == (keys == set(secrets[:-1]))
        assert version == 1 or not keys & set(secrets)
        states.add(version)
    assert done.returncode == 0
    assert states == {1, 2}
    store = ClientStore(tmp_path / "s")
    assert bytes(store._secret) == secrets[-1]
    assert [store.claim_next(PURPOSE).batch_id for _ in IDS] == IDS
