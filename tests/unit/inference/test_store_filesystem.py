"""Stores on network file systems are refused before anything is made there."""

import pytest

from deepreduce.errors import StoreError
from deepreduce.inference.store import ClientStore, filesystem
from deepreduce.inference.store.filesystem import refuse_network_folder

LINES = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / {home} rw - nfs4 server:/home rw,vers=4.2
41 40 8:2 / {home}/local\\040disk rw master:1 - xfs /dev/sdb1 rw
a damaged line
"""


@pytest.fixture
def mounts(tmp_path):
    path = tmp_path / "mountinfo"
    path.write_text(LINES.format(home=tmp_path / "home"))
    return path


def test_the_innermost_mount_decides(tmp_path, mounts):
    refuse_network_folder(tmp_path / "elsewhere", mounts)
    refuse_network_folder(tmp_path / "homeless", mounts)
    refuse_network_folder(tmp_path / "home" / "local disk" / "store", mounts)
    with pytest.raises(StoreError, match=r"network file system \(nfs4 at .*home\).*local disk for the store"):
        refuse_network_folder(tmp_path / "home" / "deep" / "store", mounts)


def test_a_link_is_followed(tmp_path, mounts):
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    with pytest.raises(StoreError, match="nfs4"):
        refuse_network_folder(tmp_path / "link" / "store", mounts)


def test_where_nothing_is_said_nothing_is_refused(tmp_path):
    refuse_network_folder(tmp_path, tmp_path / "missing")


def test_a_store_asks(tmp_path, mounts, monkeypatch):
    monkeypatch.setattr(filesystem.refuse_network_folder, "__defaults__", (mounts,))
    with pytest.raises(StoreError, match="network file system"):
        ClientStore(tmp_path / "home" / "store")
    assert not (tmp_path / "home").exists()
    ClientStore(tmp_path / "store").close()
