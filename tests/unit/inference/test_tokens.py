"""A file of tokens: what it holds, who may read it, and that a running server sees its changes."""

import hashlib
import hmac

import pytest

from deepreduce.errors import SettingError
from deepreduce.inference.access import tokens
from deepreduce.inference.access.tokens import TokenFile, add_token, matching, read_tokens, remove_token


def test_a_token_is_shown_once_and_its_hash_kept(tmp_path):
    path = tmp_path / "tokens"
    alice, bob = add_token(path, "alice"), add_token(path, "bob@example.org")
    assert len(alice) >= 43  # 256 bits
    assert alice not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    entries = read_tokens(path)
    assert entries == (
        ("alice", hashlib.sha256(alice.encode()).digest()),
        ("bob@example.org", hashlib.sha256(bob.encode()).digest()),
    )
    assert matching(entries, alice) == "alice"
    assert matching(entries, bob) == "bob@example.org"
    for wrong in ("", alice[:-1], alice + "x", entries[0][1].hex(), "\ud800"):
        assert matching(entries, wrong) is None


def test_every_entry_is_compared_in_constant_time(tmp_path, monkeypatch):
    path = tmp_path / "tokens"
    first = add_token(path, "first")
    for number in range(4):
        add_token(path, f"n{number}")
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(tokens.hmac, "compare_digest", lambda a, b: compared.append(a) or compare(a, b))
    for token in (first, "nobody's"):
        compared.clear()
        matching(read_tokens(path), token)
        assert len(compared) == 5


def test_replaced_and_removed_and_the_rest_stays(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# who may ask\n\n")
    path.chmod(0o600)
    old, other = add_token(path, "alice"), add_token(path, "bob")
    with pytest.raises(SettingError, match="has a token for alice already"):
        add_token(path, "alice")
    new = add_token(path, "alice", replace=True)
    assert [matching(read_tokens(path), token) for token in (old, new, other)] == [None, "alice", "bob"]
    remove_token(path, "alice")
    assert [matching(read_tokens(path), token) for token in (new, other)] == [None, "bob"]
    assert path.read_text().startswith("# who may ask\n")
    with pytest.raises(SettingError, match="no token for 'alice'"):
        remove_token(path, "alice")


@pytest.mark.parametrize("name", ["", "a b", " a", "anonymous", "#a", "a\n", "x" * 200, "a\u2028b"])
def test_names_that_are_none(tmp_path, name):
    with pytest.raises(SettingError, match="cannot name an identity"):
        add_token(tmp_path / "tokens", name)
    assert not (tmp_path / "tokens").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"alice", "line 1"),
        (b"# c\nalice 00", "line 2"),
        (b"alice " + b"A" * 64, "line 1"),
        (b"alice " + b"0" * 64 + b"\nalice " + b"1" * 64, "line 2 .* names alice again"),
        (b"anonymous " + b"0" * 64, "line 1"),
        (b"two words " + b"0" * 64, "line 1"),
        (b"\xff", "it is not text"),
    ],
)
def test_files_that_cannot_be_understood(tmp_path, content, message):
    path = tmp_path / "tokens"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingError, match=message):
        read_tokens(path)


def test_who_may_read_the_file(tmp_path):
    path = tmp_path / "tokens"
    add_token(path, "alice")
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(SettingError, match="others may read or write"):
            read_tokens(path)
    with pytest.raises(SettingError, match="cannot be read"):
        read_tokens(tmp_path / "missing")


def test_changes_are_seen_and_a_bad_file_changes_nothing(tmp_path):
    path = tmp_path / "tokens"
    alice = add_token(path, "alice")
    file = TokenFile(path)
    assert not file.refresh()
    bob = add_token(path, "bob")
    assert file.owner(bob) == "bob"
    remove_token(path, "alice")
    assert file.owner(alice) is None
    content = path.read_bytes()
    path.write_bytes(b"nonsense")
    assert file.owner(bob) == "bob"
    path.unlink()
    assert file.owner(bob) == "bob"
    path.write_bytes(content)
    path.chmod(0o644)
    assert file.owner(bob) == "bob"
    path.chmod(0o600)
    add_token(path, "carol")
    assert file.refresh()
    assert [name for name, _ in file.entries] == ["bob", "carol"]
