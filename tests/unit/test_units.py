"""Quantities as people write and read them."""

import math

import pytest
from hypothesis import given, strategies as st

from deepreduce.units import (
    COUNT,
    RATE,
    SIZE,
    TIME,
    UnitError,
    parse_duration,
    parse_quantity,
    show_bytes,
    show_count,
    show_duration,
    show_seconds,
)


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("12.5k", COUNT, 12_500),
        ("7000", COUNT, 7000),
        (".5M", COUNT, 500_000),
        ("500MB", SIZE, 5e8),
        ("2 GiB", SIZE, 2**31),
        ("8g", SIZE, 8e9),
        ("20ms", TIME, 0.02),
        (" 1.5 h ", TIME, 5400),
        ("200Mbit", RATE, 2e8),
        ("1Gb/s", RATE, 1e9),
        ("100 kbps", RATE, 1e5),
    ],
)
def test_quantities_are_parsed(text, units, value):
    assert parse_quantity(text, units) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "k", "1.2.3k", "-5", "1e9", "1 k k", "nan", "inf", "1" * 40, "\u0663k", None])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError):
        parse_quantity(str(text), COUNT)


def test_an_unknown_unit_is_named():
    with pytest.raises(UnitError, match="'parsecs' is not one of the units us, ms, s, m, min, h, d"):
        parse_quantity("12 parsecs", TIME)
    with pytest.raises(UnitError, match="'no unit'"):
        parse_quantity("12", TIME)


@given(st.text(max_size=30))
def test_text_is_a_quantity_or_refused(text):
    for units in (COUNT, SIZE, TIME, RATE):
        try:
            value = parse_quantity(text, units)
        except ValueError:
            continue
        assert math.isfinite(value) and value >= 0


def test_durations():
    assert [parse_duration(text) for text in ("1h30m", "9m", "90s", "2d", "1.5h")] == [5400, 540, 90, 172_800, 5400]
    for text in ("", "h", "90", "1h 30", "1h-30m", "1m2h", "1h1h", "soon"):
        with pytest.raises(ValueError):
            parse_duration(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.34, "12.3 s"), (1, "1 s"), (0.99996, "1 s"), (0.0213, "21.3 ms"), (0.0001, "100 us"), (4000.0, "4000 s")],
)
def test_seconds_read_well(value: float, text: str) -> None:
    assert show_seconds(value) == text
    assert math.isclose(float(text.split()[0]) * {"s": 1, "ms": 1e-3, "us": 1e-6}[text.split()[1]], value, rel_tol=0.01)


@given(st.floats(1e-6, 1e6))
def test_shown_seconds_are_right_to_half_a_percent(value):
    number, unit = show_seconds(value).split()
    assert float(number) * TIME[unit] == pytest.approx(value, rel=0.006)


@given(st.integers(0, 10**14))
def test_shown_bytes_are_right_to_half_a_percent(value):
    assert parse_quantity(show_bytes(value).replace(",", ""), SIZE) == pytest.approx(value, rel=0.006)


def test_durations_read_well():
    assert [show_duration(s) for s in (5, 119.6, 130, 7300)] == ["5 s", "120 s", "2 min", "2 h 2 min"]


def test_counts_agree_with_their_nouns():
    assert [show_count(n, "class") for n in (0, 1, 2000)] == ["0 classes", "1 class", "2,000 classes"]
    assert [show_count(n, "image") for n in (1, 2)] == ["1 image", "2 images"]
