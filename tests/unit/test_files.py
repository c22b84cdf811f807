"""Files: strict JSON."""

import contextlib
import json

import pytest
from hypothesis import given, strategies as st

from deepreduce.errors import StoreError
from deepreduce.files import parse_json, read_json, write_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_json_says_is_read(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"NaN", b"[Infinity]", b'{"a": -Infinity}', b'{"a": 1, "a": 2}', b"[" * 100_000, b'"\xff"', b"1 2"],
)
def test_anything_else_is_a_value_error(content):
    with pytest.raises(ValueError):
        parse_json(content)


@given(st.binary(max_size=50))
def test_bytes_are_json_or_a_value_error(content):
    with contextlib.suppress(ValueError):
        parse_json(content)


def test_a_caller_may_take_constants_and_refuse_fractions():
    assert parse_json("[NaN, 1.5]", parse_constant=lambda _: None) == [None, 1.5]

    def refuse(text):
        raise ValueError(text)

    with pytest.raises(ValueError, match=r"1\.5"):
        parse_json("[1.5]", parse_float=refuse)


def test_a_file_is_read_or_named(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    assert read_json(path, ("a",)) == {"a": 1}
    path.write_text('{"a": NaN}')
    with pytest.raises(StoreError, match=r"a\.json is damaged: it is not JSON"):
        read_json(path)
    assert read_json(path, parse_constant=lambda _: 0) == {"a": 0}
    path.write_text("[1]")
    with pytest.raises(StoreError, match="it has no 'a'"):
        read_json(path, ("a",))
