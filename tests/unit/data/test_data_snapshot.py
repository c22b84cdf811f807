"""Snapshots: what comes back is what was saved, or an error that says what is wrong with the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from deepreduce.data import Dataset, Split
from deepreduce.data.dataset import assemble
from deepreduce.data.snapshot import restore, save
from deepreduce.errors import DataError


@pytest.fixture
def dataset() -> Dataset:
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(256, (count, 3, 8, 6), dtype=torch.uint8, generator=generator)
        return Split(images, torch.randint(2, (count,), generator=generator))

    return assemble("näme", ("a", "b"), split(20), split(5), split(7), ("fewer images than usual",))


def test_everything_comes_back(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "new" / "data.safetensors"
    save(dataset, path)
    back = restore(path)
    assert back.digest == dataset.digest
    for field in ("name", "classes", "mean", "std", "notices", "input_shape"):
        assert getattr(back, field) == getattr(dataset, field)
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(back, name).images, getattr(dataset, name).images)
        assert torch.equal(getattr(back, name).labels, getattr(dataset, name).labels)
    assert [file.name for file in path.parent.iterdir()] == ["data.safetensors"]


def test_views_are_saved_as_what_they_show(dataset: Dataset, tmp_path: Path) -> None:
    train = Split(dataset.train.images.flip(3)[::2, :, :4].transpose(2, 3), dataset.train.labels[::2])
    view = assemble("view", ("a", "b"), train, train, train)  # three names of one memory, too
    save(view, tmp_path / "view")
    assert torch.equal(restore(tmp_path / "view").test.images, train.images)


def test_restored_images_are_mapped_and_private(dataset: Dataset, tmp_path: Path) -> None:
    """Writing into a restored tensor must not reach the file that other workers map."""
    save(dataset, tmp_path / "data")
    restore(tmp_path / "data").train.images.zero_()
    assert restore(tmp_path / "data").digest == dataset.digest


def test_a_failed_write_leaves_the_old_file(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    save(dataset, path)
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(DataError, match="no space left"):
        save(dataset, path)
    monkeypatch.undo()
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(DataError, match="no space left"):
        save(dataset, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_flipped_byte_is_found(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "data"
    save(dataset, path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        restore(path)
    assert len(restore(path, check=False).train) == 20


@pytest.mark.parametrize("content", [b"", b"not safetensors at all, but long enough to have a header"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data").write_bytes(content)
    with pytest.raises(DataError, match="not a snapshot, or a damaged one"):
        restore(tmp_path / "data")


def test_a_truncated_snapshot_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    save(dataset, tmp_path / "data")
    (tmp_path / "data").write_bytes((tmp_path / "data").read_bytes()[:-10])
    with pytest.raises(DataError, match="not a snapshot, or a damaged one"):
        restore(tmp_path / "data")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "not a data set snapshot"),
        ({"deepreduce": json.dumps({"format": 99})}, "snapshot format 99, this version reads 1"),
    ],
)
def test_other_headers_are_refused(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "data", metadata=metadata)
    with pytest.raises(DataError, match=message):
        restore(tmp_path / "data")


def test_a_missing_snapshot_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data is missing"):
        restore(tmp_path / "data")
