"""Limits on the wire: 13 bytes each way, words for every kind, and none for one that is unknown."""

import pytest

from deepreduce.inference.transport.limit import LIMIT, NO_LIMIT, TEXTS, Limit, LimitKind, limit_of


@pytest.mark.parametrize("kind", [kind for kind in LimitKind if kind != LimitKind.NONE])
def test_every_kind_has_words(kind):
    limit = limit_of(Limit(kind, 12_345, 86_400).encoded())
    assert limit == Limit(kind, 12_345, 86_400)
    assert limit.text and "{" not in limit.text


def test_bounds_and_windows_are_named():
    assert Limit(LimitKind.QUOTA_PREDICTIONS, 1000, 86_400).text == "1,000 images in 24 h"
    assert Limit(LimitKind.QUOTA_READY_BYTES, 4 * 10**9).text == "4 GB of prepared and unused batches"
    assert Limit(LimitKind.QUOTA_CONNECTIONS, 1).text == "1 connection at a time"
    assert Limit(LimitKind.PREPARED, 64).text == "64 preparations of one session"


def test_what_is_unknown_has_no_words():
    """Of a server that knows more kinds, or one that lies: nothing of it is shown."""
    for content in (bytes(LIMIT.size), b"\xff" * LIMIT.size, LIMIT.pack(200, 5, 5)):
        assert (limit_of(content).text, limit_of(content).hint) == ("", "")
    assert NO_LIMIT.kind not in TEXTS
    assert limit_of(Limit(LimitKind.QUOTA_TOTAL, 1 << 70, 1 << 40).encoded()).most == (1 << 64) - 1
