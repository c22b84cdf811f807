"""Quotas as people write them."""

import pytest

from deepreduce.cli.quotas import read_quotas
from deepreduce.errors import SettingError
from deepreduce.inference.access.quota import Quota

FILE = """
[default]
predictions = "1000/24h"
total = 5000

[identity.alice]
predictions = "5/30min"
ready_bytes = "4GB"

[identity."bob@example.org"]
total = "unlimited"
connections = 0
"""


def test_options_then_default_then_identity(tmp_path):
    (tmp_path / "q.toml").write_text(FILE)
    found = read_quotas(["total=7", "connections=3", "ready-bytes=1MB"], tmp_path / "q.toml")
    default = Quota(predictions=1000, window_s=86400, total=5000, connections=3, ready_bytes=1_000_000)
    assert found.default == found.of("carol") == default
    assert found.of("alice") == Quota(5, 1800, 5000, None, None, 4_000_000_000, 3)
    assert found.of("bob@example.org") == Quota(1000, 86400, None, None, None, 1_000_000, 0)


def test_options_alone():
    assert read_quotas(None, None).default == Quota()
    assert read_quotas(["predictions=5/min"], None).default == Quota(5, 60)
    assert read_quotas(["predictions=5/2d", "prepared=9", "ready=1"], None).default == Quota(5, 172800, None, 9, 1)
    assert read_quotas(["predictions=unlimited"], None).default == Quota()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["prediction=1/h"], "unknown quota 'prediction'"),
        (["predictions=1000"], "write images per time"),
        (["predictions=1/0h"], "write images per time"),
        (["predictions=-1/h"], "write images per time"),
        (["total=-1"], "write a whole number"),
        (["total=1e9"], "write a whole number"),
        (["ready-bytes=much"], "write a size"),
        (["total"], "write --quota NAME=VALUE"),
        (["total=1", "total=2"], "given twice"),
    ],
)
def test_options_that_are_none(texts, message):
    with pytest.raises(SettingError, match=message):
        read_quotas(texts, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x", "are not TOML"),
        ("[defaults]\ntotal = 1", "unknown table 'defaults'"),
        ("default = 1", "default is not a table"),
        ("[identity]\nalice = 1", "identity.alice is not a table"),
        ("[default]\ntotal = true", "write a whole number"),
        ("[default]\ntotal = 1.5", "write a whole number"),
        ("[default]\nwindow = 1", "unknown quota 'window'"),
        ('[identity." a"]\ntotal = 1', "cannot name an identity"),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    (tmp_path / "q.toml").write_text(content)
    with pytest.raises(SettingError, match=message):
        read_quotas(None, tmp_path / "q.toml")
    with pytest.raises(SettingError, match="cannot be read"):
        read_quotas(None, tmp_path / "missing.toml")
